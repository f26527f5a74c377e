"""What a run will cost, before it: from the prompts as they are and the replies so far."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from flows.context import Context
from flows.purposes import Planned, planned
from generators.client.pricing import price_of

_LEAST_MEASURED = 5
_MOST_MEASURED = 400
# Where nothing is measured: four bytes a token may be a quarter off, and one call in ten is made
# again to have a reply repaired.
_PROMPT_RANGE = (0.75, 1.3)
_MOST_REPAIRED = 1.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a call has come to so far, its repairs among it: tokens for each estimated one.

    `low` and `high` bound the means by two standard errors; `n` is 0 for a guess. `attempts` are
    the requests of one call.
    """

    n: int
    prompt: tuple[float, float]
    reply: tuple[float, float]
    attempts: float = 1.0
    seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The lines on one purpose, its price range where that is known, and its seconds."""

    lines: Sequence[str]
    requests: float = 0.0
    tokens: float = 0.0
    usd: tuple[float, float] | None = None
    seconds: float | None = None


def tell_costs(context: Context) -> list[str]:
    """Return the lines on tokens, price and time of what is still to be asked, by purpose."""
    plans = planned(context)
    costs = [_cost(context, each) for each in plans]
    lines = [line for cost in costs for line in cost.lines]
    due = [cost for each, cost in zip(plans, costs, strict=True) if each.due]
    if not due:
        return lines
    lines += _total(due) if len(due) > 1 else []
    lines += _limits(context, due)
    if all(cost.seconds is None for cost in due) and context.recipe.interview.mode == "live":
        lines.append(
            "          not measured yet: `memoirist plan --pilot` sends 20 calls, whose replies are"
            " kept, and tells it more closely"
        )
    return lines


def _cost(context: Context, plan: Planned) -> Cost:
    n = len(plan.due)
    about = "up to " if plan.more else ""
    most = math.ceil(n * (1 + plan.more))
    named = f" by {plan.model!r}" if plan.model else ""
    head = f"{plan.verb:<10}{about}{most:,} calls{named}"
    if plan.n_kept:
        head += f"; {plan.n_kept:,} answers are kept and cost nothing"
    if not n:
        return Cost(lines=[head])
    measured = _measure(context, plan)
    estimated, factor = sum(plan.due), (1.0, 1 + plan.more)
    tokens_in = [estimated * f * m for f, m in zip(factor, measured.prompt, strict=True)]
    tokens_out = [n * f * m for f, m in zip(factor, measured.reply, strict=True)]
    price, usd = _price(plan, tokens_in, tokens_out)
    told, seconds = _time(most, measured, plan)
    tokens = f"          tokens: {_range(tokens_in)} in, {_range(tokens_out)} out"
    return Cost(
        lines=[head, tokens, price, *told],
        requests=most * measured.attempts,
        tokens=tokens_in[1] + tokens_out[1],
        usd=usd,
        seconds=seconds,
    )


def _price(
    plan: Planned, tokens_in: Sequence[float], tokens_out: Sequence[float]
) -> tuple[str, tuple[float, float] | None]:
    priced = price_of(plan.model, plan.settings.prices) if plan.model else None
    if priced is None:
        named = repr(plan.model) if plan.model else "the model, which --model names"
        return f"          price: unknown for {named}; write it into [interview.prices]", None
    if plan.settings.mode == "batch":
        priced = priced.times(plan.settings.batch_price)
    low, high = (priced.price.of(*pair) for pair in zip(tokens_in, tokens_out, strict=True))
    return f"          price: {_usd(low)} to {_usd(high)} ({priced.basis})", (low, high)


def _time(calls: int, measured: Measured, plan: Planned) -> tuple[list[str], float | None]:
    if plan.settings.mode == "batch":
        return ["          time: within a day, as providers promise of a batch"], None
    if measured.seconds is None:
        return [], None
    at_once = plan.settings.max_concurrency
    seconds = max(math.ceil(calls / at_once), calls / at_once) * measured.seconds
    told = (
        f"          time: about {_shown(seconds)} with {at_once} in flight; measured on"
        f" {measured.n:,} replies of {measured.seconds:.1f} s"
    )
    return [told], seconds


def _total(costs: Sequence[Cost]) -> list[str]:
    """Return the line on everything together."""
    told = [f"{sum(cost.requests for cost in costs):,.0f} requests"]
    priced = [cost.usd for cost in costs if cost.usd is not None]
    if len(priced) == len(costs):
        low, high = (sum(usd[n] for usd in priced) for n in (0, 1))
        told.append(f"{_usd(low)} to {_usd(high)}")
    timed = [cost.seconds for cost in costs if cost.seconds is not None]
    if len(timed) == len(costs):
        told.append(f"about {_shown(sum(timed))}")
    return [f"{'total':<10}{', '.join(told)}"]


def _limits(context: Context, costs: Sequence[Cost]) -> list[str]:
    """Return a line on each limit that may stop the run before its end."""
    settings = context.recipe.interview
    priced = [cost.usd for cost in costs if cost.usd is not None]
    checks: Iterable[tuple[str, float | None, float]] = (
        ("max_requests", settings.max_requests, sum(cost.requests for cost in costs)),
        ("max_tokens", settings.max_tokens, sum(cost.tokens for cost in costs)),
        ("budget_usd", settings.budget_usd, sum(high for _, high in priced)),
    )
    return [
        f"          interview.{name} = {limit:,g} may stop the run earlier; the next one goes on"
        for name, limit, most in checks
        if limit is not None and most > limit
    ]


def _measure(context: Context, plan: Planned) -> Measured:
    """Measure what came of this purpose from this model, to these prompts."""
    rows = context.workspace.store.rows(
        "SELECT key, tokens_in, tokens_out, attempts, seconds / greatest(attempts, 1) AS seconds"
        " FROM requests WHERE purpose = ? AND status IN ('ok', 'unusable') AND model = ?"
        " AND list_contains(?, prompt_version) ORDER BY created_at DESC, id LIMIT ?",
        [plan.purpose, plan.model or "", list(plan.versions), _MOST_MEASURED],
    )
    if len(rows) < _LEAST_MEASURED:
        low, high = plan.reply
        prompt = (_PROMPT_RANGE[0], _PROMPT_RANGE[1] * _MOST_REPAIRED)
        return Measured(n=0, prompt=prompt, reply=(low, high * _MOST_REPAIRED))
    estimates = [(row["tokens_in"], plan.estimate(row["key"])) for row in rows]
    factors = [tokens / estimate for tokens, estimate in estimates if estimate]
    return Measured(
        n=len(rows),
        prompt=_bounds(factors) if len(factors) >= _LEAST_MEASURED else _PROMPT_RANGE,
        reply=_bounds([float(row["tokens_out"]) for row in rows]),
        attempts=sum(row["attempts"] for row in rows) / len(rows),
        seconds=sum(row["seconds"] for row in rows) / len(rows),
    )


def _bounds(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean less and plus two standard errors."""
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / max(1, len(values) - 1)
    error = 2 * math.sqrt(variance / len(values))
    return max(0.0, mean - error), mean + error


def _range(ends: Sequence[float]) -> str:
    return f"{ends[0]:,.0f} to {ends[1]:,.0f}"


def _usd(price: float) -> str:
    """Return dollars; where they are few, to a tenth of a cent."""
    return f"${price:,.2f}" if price >= 1 else f"${price:.3f}"


def _shown(seconds: float) -> str:
    return f"{seconds:,.0f} s" if seconds < 120 else f"{seconds / 60:,.0f} minutes"
