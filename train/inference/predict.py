"""Collect what one model does in an evaluation: losses, answers, and answers to instructions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from memoirist.data.evaluation.ability import Attempt, Plain
from memoirist.data.schema.records import Conversation
from memoirist.train.dataset.chat_template import Messages
from memoirist.train.dataset.tokenize import IGNORE, TokenRow, prompt_ids, rows_of
from memoirist.train.inference.batch_inference import Loss, end_ids, generate, losses_of
from memoirist.train.model.model_loader import context_length, load_base, quiet
from memoirist.train.settings import EvaluateSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


# Tokens of an answer about itself, and of one to a plain instruction: these are short.
SHORT_ANSWER, PLAIN_ANSWER = 96, 32
# Called after every batch with the number of answers so far, their total and the inputs' name.
Advance = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionInputs:
    """What a model is asked; `examples` are exchanges shown to it before everything else.

    `held_out` are conversations of which the loss is measured, `prompts` the messages up to each
    answer that is wanted, `honest` the same for short answers, `plain` instructions without the
    persona. Inputs that differ from others by their examples only leave `plain` empty.
    """

    held_out: Sequence[Conversation]
    prompts: Sequence[Messages]
    honest: Sequence[Messages] = ()
    plain: Sequence[Plain] = ()
    examples: Messages = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedAnswer:
    """One answer; `finished` tells that it ended by itself within the limit."""

    text: str
    finished: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """Losses by conversation id, and answers in the order of the prompts."""

    losses: dict[str, Loss] = field(default_factory=dict)
    answers: list[GeneratedAnswer] = field(default_factory=list)
    honest: list[GeneratedAnswer] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)


def predict(
    model_path: Path,
    inputs: Mapping[str, PredictionInputs],
    settings: EvaluateSettings,
    advance: Advance = lambda _done, _total, _name: None,
) -> dict[str, Predictions]:
    """Load a model once and return its predictions for each of the named inputs."""
    quiet()
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_path)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # of the model before
    predictor = _Predictor(load_base(model_path, "none").eval(), tokenizer, settings)
    total = sum(len(x.prompts) + len(x.honest) + len(x.plain) for x in inputs.values())
    done = 0

    def answers(
        name: str, prompts: Sequence[Messages], limit: int, greedy: bool = False
    ) -> list[GeneratedAnswer]:
        nonlocal done
        collected: list[GeneratedAnswer] = []
        for batch in predictor.answers(prompts, limit, greedy=greedy):
            collected += batch
            done += len(batch)
            advance(done, total, name)
        return collected

    limit = settings.max_new_tokens
    predictions: dict[str, Predictions] = {}
    for name, given in inputs.items():
        prompts = [_with(given.examples, messages) for messages in given.prompts]
        honest = [_with(given.examples, messages) for messages in given.honest]
        plain = [[{"role": "user", "content": task.ask}] for task in given.plain]
        losses = predictor.losses(given.held_out, given.examples)
        predictions[name] = Predictions(
            losses=losses,
            answers=answers(name, prompts, limit),
            honest=answers(name, honest, min(SHORT_ANSWER, limit)),
            attempts=predictor.attempts(given.plain, answers(name, plain, PLAIN_ANSWER, True)),
        )
    return predictions


def _with(examples: Messages, messages: Messages) -> list[Mapping[str, str]]:
    """Put examples behind the system message."""
    first = 1 if messages and messages[0]["role"] == "system" else 0
    return [*messages[:first], *examples, *messages[first:]]


class _Predictor:
    """A loaded model in evaluation mode with its tokenizer."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, settings: EvaluateSettings
    ) -> None:
        self.model, self.tokenizer, self.settings = model, tokenizer, settings
        self.context = context_length(model)

    def losses(self, conversations: Sequence[Conversation], examples: Messages) -> dict[str, Loss]:
        """Return the loss of each conversation's own answers; one that does not fit is left out.

        Examples are read but not counted; they are dropped first where the context is short.
        """
        limit = self.context if examples else min(self.settings.max_length, self.context)
        rows: list[TokenRow] = []
        owners: list[str] = []
        for conversation in conversations:
            own = sum(message["role"] == "assistant" for message in conversation.messages)
            messages = _with(examples, conversation.messages) if own else []
            for row in rows_of(messages, self.tokenizer, limit):
                rows.append(row if row.kind == "text" else _last_answers(row, own))
                owners.append(conversation.id)
        losses: dict[str, Loss] = {}
        for owner, loss in zip(owners, losses_of(self.model, rows), strict=True):
            losses[owner] = losses.get(owner, Loss()) + loss
        return losses

    def answers(
        self, prompts: Sequence[Messages], max_new_tokens: int, *, greedy: bool
    ) -> Iterator[list[GeneratedAnswer]]:
        """Yield the answers in batches, in the order of the prompts, the same for the same seed."""
        torch.manual_seed(self.settings.seed)
        sampling: dict[str, Any] = {"do_sample": False}
        if not greedy and self.settings.temperature > 0:
            sampling = {
                "do_sample": True,
                "temperature": self.settings.temperature,
                "top_p": self.settings.top_p,
                "top_k": 0,
            }
        limit = self.context - min(max_new_tokens, self.context // 2)
        ids = [prompt_ids(prompt, self.tokenizer)[-limit:] for prompt in prompts]
        at, size = 0, self.settings.batch
        while at < len(ids):
            batch = ids[at : at + size]
            try:
                rows = generate(self.model, self.tokenizer, batch, max_new_tokens, **sampling)
            except torch.OutOfMemoryError:
                if size == 1:
                    raise
                size //= 2
                torch.cuda.empty_cache()
                continue
            yield [self._answer(row) for row in rows]
            at += size

    def _answer(self, ids: Sequence[int]) -> GeneratedAnswer:
        finished = bool(ids) and ids[-1] in end_ids(self.model, self.tokenizer)
        words = ids[:-1] if finished else ids
        text = self.tokenizer.decode(words, skip_special_tokens=True).strip()
        return GeneratedAnswer(text=text, finished=finished)

    def attempts(self, tasks: Sequence[Plain], answers: Sequence[GeneratedAnswer]) -> list[Attempt]:
        """Return what the model makes of plain instructions: its losses and its answer."""
        rows: list[TokenRow] = []
        for task in tasks:
            for choice in task.choices:
                exchange = (("user", task.ask), ("assistant", choice))
                messages = [{"role": role, "content": words} for role, words in exchange]
                rows += map(_without_end, rows_of(messages, self.tokenizer, self.context))
        losses = iter(losses_of(self.model, rows))
        return [
            Attempt(losses=[next(losses).mean for _ in task.choices], answer=answer.text)
            for task, answer in zip(tasks, answers, strict=True)
        ]


def _without_end(row: TokenRow) -> TokenRow:
    """Return a row whose end token is not counted: a model that writes more is not less able."""
    labels = list(row.labels)
    labels[max(place for place, label in enumerate(labels) if label >= 0)] = IGNORE
    return TokenRow(input_ids=row.input_ids, labels=labels)


def _last_answers(row: TokenRow, n_answers: int) -> TokenRow:
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
    return replace(row, labels=labels)
