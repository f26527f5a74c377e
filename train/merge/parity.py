"""Compare a merged model with base + adapter: answers, probabilities, held-out loss, end tokens."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from memoirist.data.templates import render
from memoirist.train.dataset.tokenize import IGNORE, TokenRow, prompt_ids, read_rows
from memoirist.train.inference.batch_inference import greedy, measure
from memoirist.train.merge.merged_weights import Way
from memoirist.train.model.model_loader import compute_dtype
from memoirist.train.settings import PROMPTS, MergeSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


T = TypeVar("T")

# Two logits as close as this are a draw in float32: W x + s B (A x) and (W + s B A) x are the same
# sum in another order, which changed the logits of the embedded base by 7e-7 in the median and
# 1.3e-5 at most (2,755 places of the bundled samples, merged against adapter).
TIE = 1e-4
# Likeliest tokens of base + adapter that are recorded at each place of its answers.
_NEAREST = 8
# Rows, and trained places of each, at which the probabilities of all tokens are compared. With a
# large vocabulary fewer places, so that both models' numbers stay within 0.25 GB each, and never
# fewer than 32 of a row.
_ROWS, _PLACES, _NUMBERS, _LEAST = 16, 256, 2**26, 32

# Asked beside the run's own questions where it has fewer than the check wants.
_PLAIN_PROMPTS = tomllib.loads(PROMPTS.read_text("utf-8"))["merge"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The answers, probabilities and losses of base + adapter; losses are nats a token.

    `nearest` holds, for each answer, the ids and logits of the likeliest tokens at each place.
    """

    rows: Sequence[TokenRow]
    prompts: Sequence[Sequence[int]]
    answers: Sequence[Sequence[int]]
    nearest: Sequence[tuple[torch.Tensor, torch.Tensor]]
    log_probabilities: torch.Tensor
    loss: float
    base_loss: float
    stopped: int

    @property
    def figures(self) -> Mapping[str, float]:
        """Return the numbers by name."""
        losses = {"adapter_loss": self.loss, "base_loss": self.base_loss}
        return {**losses, "adapter_stopped": float(self.stopped)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """How a merged model compares; `differs` are the numbers of prompts with another answer.

    A prompt is a tie where the two models differ only at places where base + adapter itself finds
    both tokens equally likely: their logits differ by less than the rounding of the arithmetic.
    """

    prompts: int
    equal: int
    ties: int
    stopped: int
    kl: float
    loss: float
    differs: Sequence[int] = ()
    answers: Sequence[Sequence[int]] = field(default=(), repr=False)

    def alike(self, max_kl: float) -> bool:
        """Tell whether the merged model is the trained model."""
        return not self.differs and self.kl <= max_kl

    @property
    def figures(self) -> Mapping[str, float]:
        """Return the numbers by name."""
        names = ("prompts", "equal", "ties", "stopped", "kl", "loss")
        return {name: float(getattr(self, name)) for name in names}


def merge_rows(
    run_folder: Path, tokenizer: PreTrainedTokenizerBase, max_length: int, settings: MergeSettings
) -> tuple[list[TokenRow], list[list[int]]]:
    """Return the held-out rows of a run and prompts up to the first answer of all its rows.

    Training rows take the place of held-out ones where there are none; test rows are left for the
    evaluation.
    """
    corpus = read_rows(run_folder / "conversations.jsonl", tokenizer, max_length)
    rows = list((corpus.validation or corpus.train).values())[: settings.max_conversations]
    openings = list(
        dict.fromkeys(map(_opening, [*corpus.validation.values(), *corpus.train.values()]))
    )
    every = max(1, len(openings) // settings.prompts)
    prompts = [list(opening) for opening in openings[::every][: settings.prompts]]
    for text in _PLAIN_PROMPTS[: settings.prompts - len(prompts)]:
        prompts.append(prompt_ids([{"role": "user", "content": text}], tokenizer))
    return rows, prompts


def _opening(row: TokenRow) -> tuple[int, ...]:
    """Return the ids before the first trained one; of a row trained from its start, a quarter."""
    first = next(at for at, label in enumerate(row.labels) if label != IGNORE)
    if first <= 1:
        first = max(1, min(32, len(row.input_ids) // 4))
    return tuple(row.input_ids[:first])


def observe(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[TokenRow],
    prompts: Sequence[Sequence[int]],
    settings: MergeSettings,
) -> Reference:
    """Record what base + adapter answers to what the merged model will be asked."""
    answers = greedy(model, tokenizer, prompts, settings.max_new_tokens)
    with model.disable_adapter():
        base_loss = measure(model, rows).mean
    return Reference(
        rows=rows,
        prompts=prompts,
        answers=answers,
        nearest=[
            _nearest(model, prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)
        ],
        log_probabilities=_log_probabilities(model, rows),
        loss=measure(model, rows).mean,
        base_loss=base_loss,
        stopped=_stopped(answers, tokenizer),
    )


def compare(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    reference: Reference,
    settings: MergeSettings,
) -> Parity:
    """Return how a merged model compares with base + adapter."""
    answers = greedy(model, tokenizer, reference.prompts, settings.max_new_tokens)
    unequal = [n for n, answer in enumerate(answers) if answer != reference.answers[n]]
    ties = [n for n in unequal if _is_tie(model, reference, n, answers[n])]
    own = _log_probabilities(model, reference.rows)
    # Some places at a time: the two tables are all that memory was asked for.
    tables = (torch.split(table, _PLACES) for table in (reference.log_probabilities, own))
    kl = sum(float((p.exp() * (p - q)).sum()) for p, q in zip(*tables, strict=True)) / len(own)
    return Parity(
        prompts=len(answers),
        equal=len(answers) - len(unequal),
        ties=len(ties),
        stopped=_stopped(answers, tokenizer),
        # Below zero only by rounding.
        kl=max(0.0, kl),
        loss=measure(model, reference.rows).mean,
        differs=tuple(n for n in unequal if n not in ties),
        answers=answers,
    )


def report(
    reference: Reference,
    parities: Mapping[Way, Parity],
    best: Way,
    tokenizer: PreTrainedTokenizerBase,
) -> str:
    """Return the report as Markdown: a table, then every prompt with another answer."""

    def decode(ids: Sequence[int]) -> str:
        return " ".join(str(tokenizer.decode(ids, skip_special_tokens=True)).split())

    values = {"reference": reference, "parities": parities, "best": best, "decode": decode}
    return render(Path(__file__).with_name("parity_report.md.j2"), values)


def _stopped(answers: Sequence[Sequence[int]], tokenizer: PreTrainedTokenizerBase) -> int:
    """Count the answers that ended by themselves, with the end token that was trained."""
    return sum(answer[-1] == tokenizer.eos_token_id for answer in answers if answer)


def _is_tie(model: Any, reference: Reference, number: int, answer: Sequence[int]) -> bool:
    """Tell whether a model's answer differs from the reference's at draws only.

    Compared are the first place where they differ, and every place of the reference's answer, given
    to the model token by token: after a draw, two answers continue differently, which says nothing.
    """
    prompt, expected = reference.prompts[number], reference.answers[number]
    first = next(
        (at for at, (a, b) in enumerate(zip(answer, expected, strict=False)) if a != b), None
    )
    if first is None:
        # One answer begins the other: they were cut at different ends.
        return False
    own = _nearest(model, prompt, expected)[0][:, 0].tolist()
    chosen = {first: answer[first]}
    chosen.update({at: own[at] for at in range(len(expected)) if own[at] != expected[at]})
    ids, logits = reference.nearest[number]
    return all(_gap(ids[at], logits[at], token) <= 0 for at, token in chosen.items())


def _gap(ids: torch.Tensor, logits: torch.Tensor, token: int) -> float:
    """Return by how much the likeliest token leads `token`, less the width of a draw."""
    place = (ids == token).nonzero()
    if not len(place):
        return float("inf")
    top = float(logits[0])
    # In half precision neighbouring numbers are further apart than any order of sums moves them.
    draw = max(TIE, 2 * torch.finfo(compute_dtype()).eps * abs(top))
    return top - float(logits[int(place[0])]) - draw


def _nearest(
    model: Any, prompt: Sequence[int], answer: Sequence[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and logits of the likeliest tokens at each place of `answer`."""
    model.eval()
    ids = torch.tensor([[*prompt, *answer]], device=model.device)
    with torch.inference_mode():
        logits = model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1]
        top = logits.float().topk(_NEAREST, dim=-1)
    return top.indices.cpu(), top.values.cpu()


def _log_probabilities(model: Any, rows: Sequence[TokenRow]) -> torch.Tensor:
    """Return log-probabilities at trained places of some rows, both spread over all there are."""
    tables: list[torch.Tensor] = []
    model.eval()
    with torch.inference_mode():
        for row in _spread(rows, _ROWS):
            trained = [at for at, label in enumerate(row.labels[1:]) if label != IGNORE]
            ids = torch.tensor([row.input_ids], device=model.device)
            logits = model(input_ids=ids, use_cache=False).logits[0, :-1]
            places = max(_LEAST, min(_PLACES, _NUMBERS // (_ROWS * logits.shape[-1])))
            chosen = logits[_spread(trained, places)]
            tables.append(chosen.float().log_softmax(-1).cpu())
    return torch.cat(tables)


def _spread(items: Sequence[T], n: int) -> Sequence[T]:
    """Return up to `n` items at even distances."""
    n = min(n, len(items))
    return [items[at * len(items) // n] for at in range(n)]
