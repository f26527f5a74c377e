"""Estimate the cost of a run from its prompts and from the replies so far."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from memoirist.data.schema.records import Pair
from memoirist.flows.llm.interview_settings import resolved_settings
from memoirist.flows.llm.runner import closed_keys
from memoirist.flows.runtime.context import Context, persona_language
from memoirist.flows.steps.ask import due_queries, eligible, known_model
from memoirist.flows.steps.follow_up import KEPT_PAIRS, follow_neighbours
from memoirist.flows.steps.judge import JUDGED_PAIRS, judge_settings
from memoirist.flows.steps.polish import planned_polish, polish_settings
from memoirist.generators.client.pricing import estimate_tokens, price_of
from memoirist.generators.prompts.prompt_templates import fill_prompt
from memoirist.generators.settings import InterviewSettings
from memoirist.generators.tasks.base import TaskItem
from memoirist.generators.tasks.cache_key import Queries, Query
from memoirist.generators.tasks.follow_up import FollowUpTask
from memoirist.generators.tasks.grade import GradeTask

# Three questions as JSON take 60 to 150 tokens, four grades with reasons 80 to 200, more with a
# model that thinks aloud.
_REPLY = {
    "interview": (60.0, 250.0),
    # Most passages need nothing mended; a reply that mends holds the whole of one.
    "polish": (20.0, 350.0),
    "follow_up": (60.0, 250.0),
    "judge": (80.0, 300.0),
}
_USUAL_QUESTION = "What do you remember best of that time, and why has it stayed with you?"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCalls:
    """The calls of one purpose: `due` are the estimated tokens of each prompt still to be sent.

    `estimate` tells the same of any key, also of one that is answered; `reply` is the range of a
    reply's tokens where none is measured. `more` is the share of calls that may come on top, as
    second questions do.
    """

    verb: str
    purpose: str
    settings: InterviewSettings
    model: str | None
    versions: Sequence[str]
    due: Sequence[int]
    n_kept: int
    estimate: Callable[[str], int | None]
    reply: tuple[float, float]
    more: float = 0.0


def planned_calls(context: Context) -> list[PlannedCalls]:
    """Return what the recipe turns on, in the order in which a build asks."""
    calls = [_questions(context), _polish(context), _judge(context), _follow_ups(context)]
    return [planned for planned in calls if planned is not None]


def _questions(context: Context) -> PlannedCalls:
    settings, model = resolved_settings(context, keep=False), known_model(context)
    persona = context.recipe.persona.name
    of_passage = Queries(settings, persona, model or "").query
    queries = {query.key: query for query in map(of_passage, eligible(context))}
    due = due_queries(list(queries.values()), closed_keys(context, "interview", settings))

    def tokens(query: Query) -> int:
        prompt = fill_prompt(query.passage, persona, query.lang, query.prompt)
        return _tokens(prompt.messages)

    def estimate(key: str) -> int | None:
        return tokens(queries[key]) if key in queries else None

    return PlannedCalls(
        verb="ask",
        purpose="interview",
        settings=settings,
        model=model,
        versions=sorted({query.prompt.version for query in queries.values()}),
        due=[tokens(query) for query in due],
        n_kept=len(queries) - len(due),
        estimate=estimate,
        reply=_REPLY["interview"],
    )


def _polish(context: Context) -> PlannedCalls | None:
    if context.recipe.interview.answers == "verbatim":
        return None
    return _of_items(context, "polish", planned_polish(context), polish_settings(context))


def _judge(context: Context) -> PlannedCalls | None:
    if not context.recipe.curate.judge:
        return None
    settings = judge_settings(context)
    model = settings.model or known_model(context)
    task = GradeTask.load(persona_language(context), model or "", settings)
    pairs = context.workspace.store.nouns(Pair, JUDGED_PAIRS, own=True)
    to_come = _to_come(context)
    items = [task.item(pair) for pair in (*pairs, *to_come)]
    share = len(to_come) / max(1, len(items))
    more = settings.second_share * share
    return _of_items(context, "judge", items, settings, more)


def _follow_ups(context: Context) -> PlannedCalls | None:
    settings, store = context.recipe.interview, context.workspace.store
    if not settings.follow_up_share:
        return None
    lang = settings.language or persona_language(context)
    task = FollowUpTask.load(
        lang, context.recipe.persona.name, known_model(context) or "", settings
    )
    pairs = [*store.nouns(Pair, KEPT_PAIRS, own=True), *_to_come(context)]
    items = [task.item(before, later) for before, later in follow_neighbours(context, pairs)]
    return _of_items(context, "follow_up", items, settings)


def _of_items(
    context: Context,
    purpose: str,
    items: Sequence[TaskItem],
    settings: InterviewSettings,
    more: float = 0.0,
) -> PlannedCalls:
    by_key: Mapping[str, TaskItem] = {item.key: item for item in items}
    closed = closed_keys(context, purpose, settings)
    due = [item for key, item in by_key.items() if key not in closed]

    def estimate(key: str) -> int | None:
        return _tokens(by_key[key].messages) if key in by_key else None

    return PlannedCalls(
        verb={"follow_up": "follow"}.get(purpose, purpose),
        purpose=purpose,
        settings=settings,
        model=settings.model or known_model(context),
        versions=sorted({item.prompt_version for item in items}),
        due=[_tokens(item.messages) for item in due],
        n_kept=len(by_key) - len(due),
        estimate=estimate,
        reply=_REPLY[purpose],
        more=more,
    )


def _to_come(context: Context) -> list[Pair]:
    """Return a pair for each passage that is to be asked about and has none yet."""
    store = context.workspace.store
    paired = {row["passage_id"] for row in store.rows("SELECT DISTINCT passage_id FROM made_pairs")}
    return [
        Pair(
            id=passage.id,
            source_id=passage.source_id,
            passage_id=passage.id,
            question_id=passage.id,
            group_id=passage.group_id,
            thread_id=passage.id,
            ord=0,
            question=_USUAL_QUESTION,
            answer=passage.text,
            origin="generated",
        )
        for passage in eligible(context)
        if passage.id not in paired
    ]


def _tokens(messages: Sequence[Mapping[str, str]]) -> int:
    return estimate_tokens(*(message["content"] for message in messages))


_MIN_MEASURED = 5
_MAX_MEASURED = 400
# Where nothing is measured: four bytes a token may be a quarter off, and one call in ten is made
# again to have a reply repaired.
_PROMPT_RANGE = (0.75, 1.3)
_MAX_REPAIRED = 1.1


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


def cost_lines(context: Context) -> list[str]:
    """Return the lines on tokens, price and time of what is still to be asked, by purpose."""
    plans = planned_calls(context)
    costs = [_cost(context, plan) for plan in plans]
    lines = [line for cost in costs for line in cost.lines]
    due = [cost for plan, cost in zip(plans, costs, strict=True) if plan.due]
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


def _cost(context: Context, plan: PlannedCalls) -> Cost:
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
    time, seconds = _time(most, measured, plan)
    tokens = f"          tokens: {_range(tokens_in)} in, {_range(tokens_out)} out"
    return Cost(
        lines=[head, tokens, price, *time],
        requests=most * measured.attempts,
        tokens=tokens_in[1] + tokens_out[1],
        usd=usd,
        seconds=seconds,
    )


def _price(
    plan: PlannedCalls, tokens_in: Sequence[float], tokens_out: Sequence[float]
) -> tuple[str, tuple[float, float] | None]:
    priced = price_of(plan.model, plan.settings.prices) if plan.model else None
    if priced is None:
        named = repr(plan.model) if plan.model else "the model, which --model names"
        return f"          price: unknown for {named}; write it into [interview.prices]", None
    if plan.settings.mode == "batch":
        priced = priced.times(plan.settings.batch_price)
    low, high = (priced.price.usd(*pair) for pair in zip(tokens_in, tokens_out, strict=True))
    return f"          price: {_usd(low)} to {_usd(high)} ({priced.basis})", (low, high)


def _time(calls: int, measured: Measured, plan: PlannedCalls) -> tuple[list[str], float | None]:
    if plan.settings.mode == "batch":
        return ["          time: within a day, as providers promise of a batch"], None
    if measured.seconds is None:
        return [], None
    at_once = plan.settings.max_concurrency
    seconds = max(math.ceil(calls / at_once), calls / at_once) * measured.seconds
    line = (
        f"          time: about {_duration(seconds)} with {at_once} in flight; measured on"
        f" {measured.n:,} replies of {measured.seconds:.1f} s"
    )
    return [line], seconds


def _total(costs: Sequence[Cost]) -> list[str]:
    """Return the line on everything together."""
    parts = [f"{sum(cost.requests for cost in costs):,.0f} requests"]
    priced = [cost.usd for cost in costs if cost.usd is not None]
    if len(priced) == len(costs):
        low, high = (sum(usd[n] for usd in priced) for n in (0, 1))
        parts.append(f"{_usd(low)} to {_usd(high)}")
    timed = [cost.seconds for cost in costs if cost.seconds is not None]
    if len(timed) == len(costs):
        parts.append(f"about {_duration(sum(timed))}")
    return [f"{'total':<10}{', '.join(parts)}"]


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


def _measure(context: Context, plan: PlannedCalls) -> Measured:
    """Measure the replies of this model to these prompts."""
    rows = context.workspace.store.rows(
        "SELECT key, tokens_in, tokens_out, attempts, seconds / greatest(attempts, 1) AS seconds"
        " FROM requests WHERE purpose = ? AND status IN ('ok', 'unusable') AND model = ?"
        " AND list_contains(?, prompt_version) ORDER BY created_at DESC, id LIMIT ?",
        [plan.purpose, plan.model or "", list(plan.versions), _MAX_MEASURED],
    )
    if len(rows) < _MIN_MEASURED:
        low, high = plan.reply
        prompt = (_PROMPT_RANGE[0], _PROMPT_RANGE[1] * _MAX_REPAIRED)
        return Measured(n=0, prompt=prompt, reply=(low, high * _MAX_REPAIRED))
    estimates = [(row["tokens_in"], plan.estimate(row["key"])) for row in rows]
    factors = [tokens / estimate for tokens, estimate in estimates if estimate]
    return Measured(
        n=len(rows),
        prompt=_bounds(factors) if len(factors) >= _MIN_MEASURED else _PROMPT_RANGE,
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


def _duration(seconds: float) -> str:
    return f"{seconds:,.0f} s" if seconds < 120 else f"{seconds / 60:,.0f} minutes"
