"""Chat with a model on disk: one streamed answer at a time, ended by its end token."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from memoirist.data.composition.saved_exchanges import Ended
from memoirist.train.dataset.tokenize import prompt_ids
from memoirist.train.inference.batch_inference import end_ids
from memoirist.train.model.model_loader import context_length, load_base, quiet
from memoirist.train.settings import ChatSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def load(model_path: Path) -> ChatModel:
    """Return the merged model, or a prepared base, ready to answer."""
    quiet()
    from transformers import AutoTokenizer

    return ChatModel(load_base(model_path, "none"), AutoTokenizer.from_pretrained(model_path))


class Answer:
    """The pieces of an answer, and how it ended once all of them are taken.

    Before that, and when the caller does not take the rest, it counts as stopped.
    """

    def __init__(self, pieces: Generator[str, None, Ended]) -> None:
        """Take a generator of pieces; nothing is computed before the first is taken."""
        self.pieces = pieces
        self.ended: Ended = "stopped"

    def __iter__(self) -> Iterator[str]:
        """Yield the pieces as they come."""
        self.ended = yield from self.pieces


class ChatModel:
    """A model and its tokenizer."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        """Take a loaded model."""
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.ends = end_ids(model, tokenizer)
        self.room = context_length(model)

    def answer(
        self, messages: Sequence[Mapping[str, str]], settings: ChatSettings, opening: str = ""
    ) -> Answer:
        """Return the next answer in pieces of whole characters, without its end token.

        It begins with `opening`, and the model goes on from there. The oldest exchanges are left
        out when the conversation outgrows the model's context.
        """
        return Answer(self._pieces(messages, settings, opening))

    def _pieces(
        self, messages: Sequence[Mapping[str, str]], settings: ChatSettings, opening: str
    ) -> Generator[str, None, Ended]:
        """Yield the opening and what the model says after it."""
        answer: list[int] = self.tokenizer.encode(opening, add_special_tokens=False)
        if opening:
            yield opening
        limit = len(answer) + settings.max_new_tokens
        prompt = [*self._prompt(messages, limit), *answer]
        shown = self.tokenizer.decode(answer, skip_special_tokens=True)
        for token in self._tokens(prompt, settings):
            if token in self.ends:
                return "end"
            answer.append(token)
            text = self.tokenizer.decode(answer, skip_special_tokens=True)
            # Half a character decodes to U+FFFD; it is shown once its other bytes are there.
            if not text.endswith("\ufffd"):
                yield text[len(shown) :]
                shown = text
            if _is_circular(answer, settings.max_repeats):
                return "circles"
        return "limit" if len(answer) >= limit else "context"

    def _prompt(self, messages: Sequence[Mapping[str, str]], n_answer: int) -> list[int]:
        """Return ids that leave room for an answer: without old exchanges, then without words.

        The system message always stays; a last message that fills the context by itself loses its
        beginning.
        """
        kept = [dict(message) for message in messages]
        first = 1 if kept and kept[0]["role"] == "system" else 0
        limit = self.room - min(n_answer, self.room // 2)
        while len(ids := prompt_ids(kept, self.tokenizer)) > limit and len(kept) > first + 2:
            del kept[first : first + 2]
        while len(ids) > limit and len(kept) > first and (words := kept[-1]["content"]):
            # In proportion to the excess, and at least one character, so that the loop ends.
            kept[-1]["content"] = words[max(1, len(words) * (len(ids) - limit) // len(ids)) :]
            ids = prompt_ids(kept, self.tokenizer)
        # Positions beyond the context were never trained: a prompt that is still too long is cut.
        return ids[-limit:]

    def _tokens(self, prompt: Sequence[int], settings: ChatSettings) -> Iterator[int]:
        """Yield token after token, up to an end token or the limit."""
        from transformers import RepetitionPenaltyLogitsProcessor

        # Keskar et al. 2019, arXiv 1909.05858; of the answer's tokens, not of the prompt's.
        penalise = RepetitionPenaltyLogitsProcessor(settings.repetition_penalty)
        generator = torch.Generator(device="cpu").manual_seed(settings.seed)
        ids = torch.tensor([list(prompt)], device=self.model.device)
        cache = None
        seen: list[int] = []
        with torch.inference_mode():
            for _ in range(min(settings.max_new_tokens, self.room - len(prompt))):
                output = self.model(input_ids=ids, past_key_values=cache, use_cache=True)
                cache = output.past_key_values
                logits = output.logits[:, -1].float().cpu()
                logits = penalise(torch.tensor([seen], dtype=torch.long), logits)[0]
                token = _draw(logits, settings, generator)
                yield token
                if token in self.ends:
                    return
                seen.append(token)
                ids = torch.tensor([[token]], device=self.model.device)


def _draw(logits: torch.Tensor, settings: ChatSettings, generator: torch.Generator) -> int:
    """Return the likeliest token, or draw one from the smallest set that holds `top_p`."""
    if settings.temperature == 0:
        return int(logits.argmax())
    probabilities, order = (logits / settings.temperature).softmax(-1).sort(descending=True)
    # The token that crosses the limit still counts, so that at least one is left.
    probabilities[probabilities.cumsum(-1) - probabilities > settings.top_p] = 0
    return int(order[torch.multinomial(probabilities, 1, generator=generator)])


def _is_circular(answer: Sequence[int], max_repeats: int | None) -> bool:
    """Tell whether the answer ends in one run of 1 to 40 tokens said `max_repeats` times over."""
    if max_repeats is None:
        return False
    for length in range(1, 41):
        # One or two tokens may well repeat ("ha ha ha"); they are allowed four times as often.
        times = max_repeats if length > 2 else 4 * max_repeats
        tail = answer[-length * times :]
        if len(tail) < length * times or tail[length:] != tail[:-length]:
            continue
        # A longer run that is itself "ha ha ha" is judged as the short one.
        if length <= 2 or tail[2:] != tail[:-2]:
            return True
    return False
