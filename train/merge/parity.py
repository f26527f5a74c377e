"""Compare a merged model with base + adapter: answers, probabilities, held-out loss, the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from memoirist.train.dataset.tokenize import IGNORE, Rendered
from memoirist.train.model.model_loader import compute_dtype, greedy, measure, pad
from memoirist.train.settings import MergeSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


T = TypeVar("T")

# Two logits as close as this are a draw in float32: W x + s B (A x) and (W + s B A) x are the same
# sum in another order, which alone moved the logits of the embedded base by 7e-7 in the middle and
# 1.3e-5 at most (2,755 places of the bundled samples, merged against adapter).
TIE = 1e-4
# Likeliest tokens of base + adapter that are remembered at each place of its answers.
_NEAREST = 8
# Rows, and trained places of each, at which the probabilities of all tokens are compared. With a
# large vocabulary fewer places, so that both models' numbers stay within 0.25 GB each, and never
# fewer than 32 of a row.
_ROWS, _PLACES, _NUMBERS, _LEAST = 16, 256, 2**26, 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What base + adapter did, as it was trained; losses are nats a token.

    `nearest` holds, for each answer, the ids and logits of the likeliest tokens at each place.
    """

    rows: Sequence[Rendered]
    prompts: Sequence[Sequence[int]]
    answers: Sequence[Sequence[int]]
    nearest: Sequence[tuple[torch.Tensor, torch.Tensor]]
    logits: torch.Tensor
    loss: float
    base_loss: float
    stopped: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """How a merged model compares; `differs` are the numbers of prompts answered otherwise.

    A prompt is a tie where the two models part only at places where base + adapter itself holds
    both tokens for equally likely: their logits differ by less than the arithmetic does.
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


def observe(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Rendered],
    prompts: Sequence[Sequence[int]],
    settings: MergeSettings,
) -> Reference:
    """Ask base + adapter what the merged model will be asked, and the base for its loss."""
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
        logits=_log_chances(model, rows),
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
    parted = [n for n, answer in enumerate(answers) if answer != reference.answers[n]]
    ties = [n for n in parted if _is_tie(model, reference, n, answers[n])]
    own = _log_chances(model, reference.rows)
    # Some places at a time: the two tables are all that memory was asked for.
    pairs = zip(torch.split(reference.logits, _PLACES), torch.split(own, _PLACES), strict=True)
    kl = sum(float((want.exp() * (want - got)).sum()) for want, got in pairs) / len(own)
    return Parity(
        prompts=len(answers),
        equal=len(answers) - len(parted),
        ties=len(ties),
        stopped=_stopped(answers, tokenizer),
        # Below zero only by rounding.
        kl=max(0.0, kl),
        loss=measure(model, reference.rows).mean,
        differs=tuple(n for n in parted if n not in ties),
        answers=answers,
    )


def _stopped(answers: Sequence[Sequence[int]], tokenizer: PreTrainedTokenizerBase) -> int:
    """Count the answers that ended with the end token that was trained, by themselves."""
    return sum(answer[-1] == tokenizer.eos_token_id for answer in answers if answer)


def _is_tie(model: Any, reference: Reference, number: int, answer: Sequence[int]) -> bool:
    """Tell whether a model's answer parts from the reference's at draws alone.

    The first place where they part is looked at, and then the whole of the reference's answer,
    given to the model word for word: after a draw, two answers go on differently and say nothing.
    """
    prompt, wanted = reference.prompts[number], reference.answers[number]
    first = next(
        (at for at, (a, b) in enumerate(zip(answer, wanted, strict=False)) if a != b), None
    )
    if first is None:
        # One answer begins the other: they were cut at different ends.
        return False
    own = _nearest(model, prompt, wanted)[0][:, 0].tolist()
    parted = {first: answer[first]}
    parted.update({at: own[at] for at in range(len(wanted)) if own[at] != wanted[at]})
    ids, logits = reference.nearest[number]
    return all(_gap(ids[at], logits[at], token) <= 0 for at, token in parted.items())


def _gap(ids: torch.Tensor, logits: torch.Tensor, token: int) -> float:
    """Return by how much the likeliest token leads `token`, less what is a draw."""
    place = (ids == token).nonzero()
    if not len(place):
        return float("inf")
    top = float(logits[0])
    # In half precision neighbouring logits lie further apart than any order of sums moves them.
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
        found = logits.float().topk(_NEAREST, dim=-1)
    return found.indices.cpu(), found.values.cpu()


def _log_chances(model: Any, rows: Sequence[Rendered]) -> torch.Tensor:
    """Return log-probabilities at trained places of some rows, both spread over all there are."""
    kept: list[torch.Tensor] = []
    model.eval()
    with torch.inference_mode():
        for row in _spread(rows, _ROWS):
            ids, labels = pad([row], model.device)
            trained = (labels[0, 1:] != IGNORE).nonzero().flatten().tolist()
            logits = model(input_ids=ids, use_cache=False).logits[0, :-1]
            places = max(_LEAST, min(_PLACES, _NUMBERS // (_ROWS * logits.shape[-1])))
            chosen = logits[_spread(trained, places)]
            kept.append(chosen.float().log_softmax(-1).cpu())
    return torch.cat(kept)


def _spread(found: Sequence[T], n: int) -> Sequence[T]:
    """Return up to `n` of what was found, at even distances."""
    n = min(n, len(found))
    return [found[at * len(found) // n] for at in range(n)]
