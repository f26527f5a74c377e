"""What an interview will cost, before it: from the prompts as they are and the replies so far."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from flows.asking import due_queries, eligible, known_model
from flows.context import Context
from flows.kinds import resolved_settings
from generators.brief import write_brief
from generators.keys import Queries, Query
from generators.prices import estimate_tokens, price_of
from generators.settings import InterviewSettings

_LEAST_MEASURED = 5
_MOST_MEASURED = 400
# Where nothing is measured: four bytes a token may be a quarter off, and three questions as JSON
# take 60 to 150 tokens, more with a model that thinks aloud.
_PROMPT_RANGE = (0.75, 1.3)
_REPLY_RANGE = (60.0, 250.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a call has come to so far: tokens for each estimated one, and the reply's length.

    `low` and `high` bound the mean of both by two standard errors; `n` is 0 for a guess.
    """

    n: int
    prompt: tuple[float, float]
    reply: tuple[float, float]
    seconds: float | None = None


def tell_costs(context: Context) -> list[str]:
    """Return the lines on tokens, price and time of what is still to be asked."""
    settings = resolved_settings(context, keep=False)
    model, persona = known_model(context), context.recipe.persona.name
    asked = Queries(settings, persona, model or "")
    queries = [asked.of(passage) for passage in eligible(context)]
    due = due_queries(context, queries, settings)
    kept = len({query.key for query in queries}) - len(due)
    lines = [f"ask       {len(due):,} calls" + (f" by {model!r}" if model else "")]
    if kept:
        lines[0] += f"; {kept:,} answers are kept and cost nothing"
    if not due:
        return lines
    measured = _measure(context, queries, model or "", persona)
    estimated = sum(_estimate(query, persona) for query in due)
    tokens_in = tuple(estimated * factor for factor in measured.prompt)
    tokens_out = tuple(len(due) * length for length in measured.reply)
    lines.append(f"          tokens: {_range(*tokens_in)} in, {_range(*tokens_out)} out")
    lines.append(_price_line(model, settings, tokens_in, tokens_out))
    lines.append(_time_line(len(due), measured, settings))
    return [line for line in lines if line]


def _price_line(
    model: str | None,
    settings: InterviewSettings,
    tokens_in: tuple[float, ...],
    tokens_out: tuple[float, ...],
) -> str:
    priced = price_of(model, settings.prices) if model else None
    if priced is None:
        named = repr(model) if model else "the model, which --model names"
        return f"          price: unknown for {named}; write it into [interview.prices]"
    if settings.mode == "batch":
        priced = priced.times(settings.batch_price)
    low, high = (priced.price.of(*pair) for pair in zip(tokens_in, tokens_out, strict=True))
    return f"          price: ${low:,.2f} to ${high:,.2f} ({priced.basis})"


def _time_line(n_due: int, measured: Measured, settings: InterviewSettings) -> str:
    if measured.seconds is None:
        return (
            "          not measured yet: `memoirist plan --pilot` sends 20 calls, whose replies are"
            " kept, and tells it more closely"
        )
    waves = math.ceil(n_due / settings.max_concurrency)
    seconds = max(waves, n_due / settings.max_concurrency) * measured.seconds
    shown = f"{seconds:,.0f} s" if seconds < 120 else f"{seconds / 60:,.0f} minutes"
    return (
        f"          time: about {shown} with {settings.max_concurrency} in flight; measured on"
        f" {measured.n:,} replies of {measured.seconds:.1f} s"
    )


def _measure(context: Context, queries: Sequence[Query], model: str, persona: str) -> Measured:
    """Measure the kept replies of this model to these prompts."""
    versions = sorted({query.prompt.version for query in queries})
    rows = context.workspace.store.rows(
        "SELECT key, tokens_in, tokens_out, seconds / greatest(attempts, 1) AS seconds"
        " FROM requests WHERE purpose = 'interview' AND status = 'ok' AND model = ?"
        " AND list_contains(?, prompt_version) ORDER BY created_at DESC, id LIMIT ?",
        [model, versions, _MOST_MEASURED],
    )
    if len(rows) < _LEAST_MEASURED:
        return Measured(n=0, prompt=_PROMPT_RANGE, reply=_REPLY_RANGE)
    by_key = {query.key: query for query in queries}
    factors = [
        row["tokens_in"] / _estimate(by_key[row["key"]], persona)
        for row in rows
        if row["key"] in by_key
    ]
    return Measured(
        n=len(rows),
        prompt=_bounds(factors) if len(factors) >= _LEAST_MEASURED else _PROMPT_RANGE,
        reply=_bounds([float(row["tokens_out"]) for row in rows]),
        seconds=sum(row["seconds"] for row in rows) / len(rows),
    )


def _bounds(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean less and plus two standard errors."""
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / max(1, len(values) - 1)
    error = 2 * math.sqrt(variance / len(values))
    return max(0.0, mean - error), mean + error


def _estimate(query: Query, persona: str) -> int:
    brief = write_brief(query.passage, persona, query.lang, query.prompt)
    return estimate_tokens(*(message["content"] for message in brief.messages))


def _range(low: float, high: float) -> str:
    return f"{low:,.0f} to {high:,.0f}"
