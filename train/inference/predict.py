"""Have one model sit the evaluation: its losses, its answers and its plain abilities."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from memoirist.data.evaluation.ability import Attempt, Plain
from memoirist.data.schema.records import Conversation
from memoirist.train.dataset.tokenize import IGNORE, Messages, Rendered, prompt_ids, rows_of
from memoirist.train.inference.batch_inference import RowLoss, losses_of
from memoirist.train.model.model_loader import end_ids, load_base, quiet
from memoirist.train.settings import EvaluateSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


# Tokens of an answer about itself, and of one to a plain instruction: these are short.
SHORT_ANSWER, PLAIN_ANSWER = 96, 32
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper:
    """What one side is asked; `examples` are exchanges shown to it before everything else.

    `held_out` are conversations of which the loss is measured, `prompts` the messages up to each
    answer that is wanted, `honest` the same for short answers, `plain` instructions without the
    persona. A side that only differs by its examples leaves `plain` empty.
    """

    held_out: Sequence[Conversation]
    prompts: Sequence[Messages]
    honest: Sequence[Messages] = ()
    plain: Sequence[Plain] = ()
    examples: Messages = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One answer; `finished` tells that it ended by itself within the limit."""

    text: str
    finished: bool


@dataclass(slots=True, kw_only=True)
class Sitting:
    """What one side has done: losses by conversation, answers in the order of the prompts."""

    losses: dict[str, RowLoss] = field(default_factory=dict)
    answers: list[Said] = field(default_factory=list)
    honest: list[Said] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)


def sit(
    model_path: Path,
    papers: Mapping[str, Paper],
    settings: EvaluateSettings,
    advance: Progress = lambda _done, _total, _told: None,
) -> dict[str, Sitting]:
    """Load a model once and have it sit each paper; `advance` hears of every batch of answers."""
    quiet()
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_path)
    desk = Desk(load_base(model_path, "none").eval(), tokenizer, settings)
    total = sum(len(p.prompts) + len(p.honest) + len(p.plain) for p in papers.values())
    done = 0

    def ticked(answers: Iterator[list[Said]], name: str) -> list[Said]:
        nonlocal done
        found: list[Said] = []
        for batch in answers:
            found += batch
            done += len(batch)
            advance(done, total, name)
        return found

    sittings: dict[str, Sitting] = {}
    for name, paper in papers.items():
        prompts, honest = (
            [_with(paper.examples, each) for each in asked]
            for asked in (paper.prompts, paper.honest)
        )
        plain = [[{"role": "user", "content": task.ask}] for task in paper.plain]
        sittings[name] = Sitting(
            losses=desk.losses(paper.held_out, paper.examples),
            answers=ticked(desk.answers(prompts, settings.max_new_tokens), name),
            honest=ticked(desk.answers(honest, min(SHORT_ANSWER, settings.max_new_tokens)), name),
            attempts=desk.attempts(
                paper.plain, ticked(desk.answers(plain, PLAIN_ANSWER, greedy=True), name)
            ),
        )
    del desk
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # for the next model
    return sittings


def _with(examples: Messages, messages: Messages) -> list[Mapping[str, str]]:
    """Put examples behind the system message."""
    first = 1 if messages and messages[0]["role"] == "system" else 0
    return [*messages[:first], *examples, *messages[first:]]


class Desk:
    """A loaded model with its tokenizer, asked in batches."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        settings: EvaluateSettings,
    ) -> None:
        """Take a loaded model in evaluation mode."""
        self.model = model
        self.tokenizer = tokenizer
        self.settings = settings
        config = model.config.get_text_config()
        self.room = int(getattr(config, "max_position_embeddings", None) or 4096)

    def losses(
        self, conversations: Sequence[Conversation], examples: Messages
    ) -> dict[str, RowLoss]:
        """Return the loss of each conversation's own answers; one that does not fit is left out.

        Examples are read but not counted; they go first where the room is short.
        """
        limit = self.settings.max_length if not examples else self.room
        rows: list[Rendered] = []
        owners: list[str] = []
        for conversation in conversations:
            own = sum(message["role"] == "assistant" for message in conversation.messages)
            messages = _with(examples, conversation.messages) if own else []
            for row in rows_of(messages, self.tokenizer, min(limit, self.room)):
                rows.append(row if row.kind == "text" else _last_answers(row, own))
                owners.append(conversation.id)
        found: dict[str, RowLoss] = {}
        for owner, loss in zip(owners, losses_of(self.model, rows), strict=True):
            found[owner] = found.get(owner, RowLoss()) + loss
        return found

    def answers(
        self, prompts: Sequence[Messages], max_new_tokens: int, *, greedy: bool = False
    ) -> Iterator[list[Said]]:
        """Yield the answers in batches, in the order of the prompts, the same for the same seed."""
        torch.manual_seed(self.settings.seed)
        limit = self.room - min(max_new_tokens, self.room // 2)
        ids = [prompt_ids(prompt, self.tokenizer)[-limit:] for prompt in prompts]
        at, size = 0, self.settings.batch
        while at < len(ids):
            try:
                made = self._batch(ids[at : at + size], max_new_tokens, greedy=greedy)
            except torch.OutOfMemoryError:
                if size == 1:
                    raise
                size //= 2
                torch.cuda.empty_cache()
                continue
            yield made
            at += size

    def _batch(
        self, prompts: Sequence[Sequence[int]], max_new_tokens: int, *, greedy: bool
    ) -> list[Said]:
        longest = max(len(prompt) for prompt in prompts)
        fill = self.tokenizer.pad_token_id
        # Padded left, so that all answers start at the same column; masked by position, not by id.
        ids = [[fill] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
        mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        drawn: dict[str, Any] = {"do_sample": False}
        if not greedy and self.settings.temperature > 0:
            drawn = {
                "do_sample": True,
                "temperature": self.settings.temperature,
                "top_p": self.settings.top_p,
                "top_k": 0,
            }
        with torch.inference_mode():
            made = self.model.generate(
                input_ids=torch.tensor(ids, device=self.model.device),
                attention_mask=torch.tensor(mask, device=self.model.device),
                max_new_tokens=max_new_tokens,
                pad_token_id=fill,
                **drawn,
            )[:, longest:].tolist()
        ends = end_ids(self.model, self.tokenizer)
        return [self._said(answer, ends) for answer in made]

    def _said(self, ids: Sequence[int], ends: set[int]) -> Said:
        at = next((place for place, token in enumerate(ids) if token in ends), None)
        text = self.tokenizer.decode(ids[:at], skip_special_tokens=True).strip()
        return Said(text=text, finished=at is not None)

    def attempts(self, tasks: Sequence[Plain], written: Sequence[Said]) -> list[Attempt]:
        """Return what the model makes of plain instructions: its losses and its answer."""
        rows: list[Rendered] = []
        for task in tasks:
            for choice in task.choices:
                exchange = (("user", task.ask), ("assistant", choice))
                messages = [{"role": role, "content": words} for role, words in exchange]
                rows += map(_without_end, rows_of(messages, self.tokenizer, self.room))
        losses = iter(losses_of(self.model, rows))
        return [
            Attempt(losses=[next(losses).mean for _ in task.choices], answer=said.text)
            for task, said in zip(tasks, written, strict=True)
        ]


def _without_end(row: Rendered) -> Rendered:
    """Return a row whose end token is not counted: who answers at length is not less able."""
    labels = list(row.labels)
    labels[max(place for place, label in enumerate(labels) if label >= 0)] = IGNORE
    return Rendered(input_ids=row.input_ids, labels=labels)


def _last_answers(row: Rendered, n_answers: int) -> Rendered:
    """Return a row in which only its last answers are labelled."""
    labels = list(row.labels)
    seen = 0
    for place in range(len(labels) - 1, -1, -1):
        if labels[place] < 0:
            continue
        if place + 1 == len(labels) or row.labels[place + 1] < 0:
            seen += 1
        if seen > n_answers:
            labels[place] = IGNORE
    return Rendered(input_ids=row.input_ids, labels=labels, shortened=row.shortened)
