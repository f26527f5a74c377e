"""Plan a build: new sources, due LLM calls with their cost, and the training."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from memoirist.data.schema.errors import NothingToDo
from memoirist.data.schema.records import Conversation, Pair
from memoirist.data.store.store import Fetched
from memoirist.extractors import discover
from memoirist.extractors.detection.discover import is_url
from memoirist.flows.planning.training_estimate import training_lines
from memoirist.flows.runtime.context import Context, persona_language
from memoirist.flows.runtime.llm_runner import closed_keys
from memoirist.flows.steps.ask import eligible, known_model, resolved_settings
from memoirist.flows.steps.compose import latest_dataset
from memoirist.flows.steps.follow_up import KEPT_PAIRS, follow_neighbours
from memoirist.flows.steps.judge import JUDGED_PAIRS, judge_settings
from memoirist.flows.steps.polish import planned_polish, polish_settings
from memoirist.generators.client.pricing import estimate_tokens, price_of
from memoirist.generators.settings import InterviewSettings
from memoirist.generators.tasks.base import TaskItem
from memoirist.generators.tasks.judgement import GradeTask
from memoirist.generators.tasks.question import FollowUpTask, QuestionTask

PILOT_CALLS = 20


def plan_rows(context: Context, pointers: Sequence[str]) -> Fetched:
    """Return the plan as rows of a step and a text; nothing is written and nothing is sent."""
    rows = [
        *(("sources", line) for line in _sources(context, pointers)),
        *_calls(context),
        *(("train", line) for line in _training(context)),
    ]
    return Fetched(columns=["step", "plan"], numeric=[False, False], rows=rows)


def send_pilot(context: Context) -> None:
    """Ask about a few passages; the replies are kept and measured for the plan.

    Raise NothingToDo if no endpoint is set or no passage exists.
    """
    from memoirist.flows.steps.ask import ask_pilot
    from memoirist.generators.client.client import endpoint_configured

    if not endpoint_configured(context.recipe.interview):
        raise NothingToDo("a pilot needs an LLM endpoint", "give --base-url, or set OPENAI_API_KEY")
    if not context.workspace.store.path.exists():
        raise NothingToDo(
            "a pilot asks about passages, and there are none yet",
            "run `memoirist extract SOURCE` first",
        )
    with context.workspace.lock():
        ask_pilot(context, PILOT_CALLS)


def _sources(context: Context, pointers: Sequence[str]) -> list[str]:
    if not pointers:
        return ["none named"]
    locations = {source.location for source in context.workspace.sources()}
    sources = discover(pointers, context.workspace.unpacked)
    new = [source for source in sources if source.location not in locations]
    lines = [f"{len(sources)}, {len(new)} of them not extracted yet"]
    lines += [f"new: {s.pointer or s.path} ({s.format})" for s in new[:10]]
    if new and context.workspace.store.path.exists():
        lines.append("they are not counted below: `memoirist extract` reads them, free of charge")
    return lines + [f"feed, read during a build: {p}" for p in pointers if is_url(p)]


def _calls(context: Context) -> list[tuple[str, str]]:
    from memoirist.flows.steps.ask import due_offline
    from memoirist.generators.client.client import endpoint_configured

    if not context.workspace.store.path.exists():
        return [
            ("ask", "there are no passages yet: `memoirist extract` makes them, free of charge")
        ]
    if not endpoint_configured(context.recipe.interview):
        n_due = len(due_offline(context))
        return [("ask", f"{n_due:,} passages by the offline interviewer, free of charge")]

    return cost_rows(context)


def _training(context: Context) -> list[str]:
    settings = context.recipe.train.resolved()
    preset = f", preset {settings.preset}" if settings.preset else ""
    first = f"base {settings.base_model!r}, rank {settings.rank}, seed {settings.seed}"
    dataset = latest_dataset(context) if context.workspace.store.path.exists() else None
    if dataset is None:
        return [f"{first}{preset}; its tokens are counted once a dataset is composed"]
    rows = context.workspace.store.nouns(Conversation, "dataset_id = ?", dataset.id)
    return [f"{first}{preset}", *training_lines(context, rows)]


_VERBS = {"interview": "ask", "polish": "polish", "follow_up": "follow", "judge": "judge"}
# Tokens of a reply: three questions as JSON take 60 to 150, four grades with reasons 80 to 200, and
# more with a model that thinks aloud.
_REPLY = {
    "interview": (60.0, 250.0),
    # Most passages need no change; a reply with changes holds the whole passage.
    "polish": (20.0, 350.0),
    "follow_up": (60.0, 250.0),
    "judge": (80.0, 300.0),
}
_USUAL_QUESTION = "What do you remember best of that time, and why has it stayed with you?"
# The version of a prompt, and a function that returns its item: a plan renders only what it counts.
Prompt = tuple[str, Callable[[], TaskItem]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCalls:
    """The calls of one purpose: all prompts by key, and the estimated tokens of those to send.

    `more` is the share of calls that second questions may add.
    """

    purpose: str
    settings: InterviewSettings
    model: str | None
    prompts: Mapping[str, Prompt]
    due: Sequence[int]
    more: float = 0.0


def planned_calls(context: Context) -> list[PlannedCalls]:
    """Return the calls that the recipe turns on, in the order of a build."""
    calls = [_questions(context), _polish(context), _judge(context), _follow_ups(context)]
    return [planned for planned in calls if planned is not None]


def _questions(context: Context) -> PlannedCalls:
    settings = resolved_settings(context, keep=False)
    persona, model = context.recipe.persona.name, known_model(context) or ""
    task = QuestionTask(persona, model, settings, context.recipe.curate)
    prompts: dict[str, Prompt] = {
        query.key: (query.prompt.version, partial(task.item, query.passage))
        for query in map(task.query, eligible(context))
    }
    return _planned(context, task.purpose, settings, prompts)


def _polish(context: Context) -> PlannedCalls | None:
    if context.recipe.interview.answers == "verbatim":
        return None
    prompts = _prompts(planned_polish(context))
    return _planned(context, "polish", polish_settings(context), prompts)


def _judge(context: Context) -> PlannedCalls | None:
    if not context.recipe.curate.judge:
        return None
    settings = judge_settings(context)
    model = settings.model or known_model(context)
    task = GradeTask.load(persona_language(context), model or "", settings)
    pairs = context.workspace.store.nouns(Pair, JUDGED_PAIRS, own=True)
    unasked = _unasked_pairs(context)
    prompts = _prompts([task.item(pair) for pair in (*pairs, *unasked)])
    share = len(unasked) / max(1, len(pairs) + len(unasked))
    return _planned(context, "judge", settings, prompts, settings.second_share * share)


def _follow_ups(context: Context) -> PlannedCalls | None:
    settings, store = context.recipe.interview, context.workspace.store
    if not settings.follow_up_share:
        return None
    lang = settings.language or persona_language(context)
    model = known_model(context) or ""
    task = FollowUpTask.load(lang, context.recipe.persona.name, model, settings)
    pairs = [*store.nouns(Pair, KEPT_PAIRS, own=True), *_unasked_pairs(context)]
    items = [task.item(before, later) for before, later in follow_neighbours(context, pairs)]
    return _planned(context, "follow_up", settings, _prompts(items))


def _prompts(items: Sequence[TaskItem]) -> dict[str, Prompt]:
    by_key = {item.key: item for item in items}
    return {k: (item.prompt_version, partial(by_key.__getitem__, k)) for k, item in by_key.items()}


def _planned(
    context: Context,
    purpose: str,
    settings: InterviewSettings,
    prompts: Mapping[str, Prompt],
    more: float = 0.0,
) -> PlannedCalls:
    closed = closed_keys(context, purpose, settings)
    return PlannedCalls(
        purpose=purpose,
        settings=settings,
        model=settings.model or known_model(context),
        prompts=prompts,
        due=[_tokens(prompt) for key, prompt in prompts.items() if key not in closed],
        more=more,
    )


def _unasked_pairs(context: Context) -> list[Pair]:
    """Return a pair with a question of usual length for each passage without a pair."""
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


def _tokens(prompt: Prompt) -> int:
    return estimate_tokens(*(message["content"] for message in prompt[1]().messages))


_MIN_MEASURED = 5
_MAX_MEASURED = 400
# Without measurements: an estimate of four bytes a token may be off by a quarter, and one call in
# ten is repeated to repair a reply.
_PROMPT_RANGE = (0.75, 1.3)
_MAX_REPAIRED = 1.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The measured size of a call: prompt tokens per estimated token, and reply tokens.

    The pairs bound the means by two standard errors; `n` is 0 for a guess. `attempts` are the
    requests of one call.
    """

    n: int
    prompt: tuple[float, float]
    reply: tuple[float, float]
    attempts: float = 1.0
    seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The lines of the plan on one purpose, with the price range and the seconds if known."""

    lines: Sequence[str]
    requests: float = 0.0
    tokens: float = 0.0
    usd: tuple[float, float] | None = None
    seconds: float | None = None


def cost_rows(context: Context) -> list[tuple[str, str]]:
    """Return rows of a step and a text on tokens, price and time of the calls that are due."""
    plans = planned_calls(context)
    costs = [_cost(context, plan) for plan in plans]
    rows = [
        (_VERBS[plan.purpose], line)
        for plan, cost in zip(plans, costs, strict=True)
        for line in cost.lines
    ]
    due = [cost for plan, cost in zip(plans, costs, strict=True) if plan.due]
    if not due:
        return rows
    if len(due) > 1:
        rows.append(("total", _total(due)))
    rows += [("limits", line) for line in _limits(context, due)]
    if all(cost.seconds is None for cost in due) and context.recipe.interview.mode == "live":
        text = (
            "not measured yet: `memoirist plan --pilot` sends 20 calls, keeps their replies and"
            " makes this estimate more exact"
        )
        rows.append(("pilot", text))
    return rows


def _cost(context: Context, plan: PlannedCalls) -> Cost:
    n, n_kept = len(plan.due), len(plan.prompts) - len(plan.due)
    up_to = "up to " if plan.more else ""
    most = math.ceil(n * (1 + plan.more))
    model = f" to {plan.model!r}" if plan.model else ""
    head = f"{up_to}{most:,} calls{model}"
    if n_kept:
        head += f"; {n_kept:,} replies are there already and cost nothing"
    if not n:
        return Cost(lines=[head])
    measured = _measure(context, plan)
    factors = (1.0, 1 + plan.more)
    tokens_in = [sum(plan.due) * f * m for f, m in zip(factors, measured.prompt, strict=True)]
    tokens_out = [n * f * m for f, m in zip(factors, measured.reply, strict=True)]
    price, usd = _price(plan, tokens_in, tokens_out)
    time, seconds = _time(most, measured, plan)
    ranges = [f"{low:,.0f} to {high:,.0f}" for low, high in (tokens_in, tokens_out)]
    tokens = f"tokens: {ranges[0]} in, {ranges[1]} out"
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
        model = f"model {plan.model!r}" if plan.model else "the model, which --model has to name"
        return f"unknown price for {model}; give it in [interview.prices]", None
    if plan.settings.mode == "batch":
        priced = priced.times(plan.settings.batch_price)
    low, high = (priced.price.usd(*pair) for pair in zip(tokens_in, tokens_out, strict=True))
    return f"price: {_usd(low)} to {_usd(high)} ({priced.basis})", (low, high)


def _time(calls: int, measured: Measured, plan: PlannedCalls) -> tuple[list[str], float | None]:
    if plan.settings.mode == "batch":
        return ["time: within a day, as providers promise for a batch"], None
    if measured.seconds is None:
        return [], None
    at_once = plan.settings.max_concurrency
    seconds = max(math.ceil(calls / at_once), calls / at_once) * measured.seconds
    line = (
        f"time: about {_duration(seconds)} with {at_once} requests in flight, from"
        f" {measured.n:,} replies that took {measured.seconds:.1f} s each"
    )
    return [line], seconds


def _total(costs: Sequence[Cost]) -> str:
    """Return the line on all purposes together."""
    parts = [f"{sum(cost.requests for cost in costs):,.0f} requests"]
    prices = [cost.usd for cost in costs if cost.usd is not None]
    if len(prices) == len(costs):
        low, high = map(sum, zip(*prices, strict=True))
        parts.append(f"{_usd(low)} to {_usd(high)}")
    times = [cost.seconds for cost in costs if cost.seconds is not None]
    if len(times) == len(costs):
        parts.append(f"about {_duration(sum(times))}")
    return ", ".join(parts)


def _limits(context: Context, costs: Sequence[Cost]) -> list[str]:
    """Return a line on each limit that may stop the run before its end."""
    settings = context.recipe.interview
    prices = [cost.usd for cost in costs if cost.usd is not None]
    checks: Iterable[tuple[str, float | None, float]] = (
        ("max_requests", settings.max_requests, sum(cost.requests for cost in costs)),
        ("max_tokens", settings.max_tokens, sum(cost.tokens for cost in costs)),
        ("budget_usd", settings.budget_usd, sum(high for _, high in prices)),
    )
    return [
        f"interview.{name} = {limit:,g} may stop the run earlier; the next run continues"
        for name, limit, most in checks
        if limit is not None and most > limit
    ]


def _measure(context: Context, plan: PlannedCalls) -> Measured:
    """Measure the model's earlier replies to prompts of the same versions."""
    versions = sorted({version for version, _ in plan.prompts.values()})
    rows = context.workspace.store.rows(
        "SELECT key, tokens_in, tokens_out, attempts, seconds / greatest(attempts, 1) AS seconds"
        " FROM requests WHERE purpose = ? AND status IN ('ok', 'unusable') AND model = ?"
        " AND list_contains(?, prompt_version) ORDER BY created_at DESC, id LIMIT ?",
        [plan.purpose, plan.model or "", versions, _MAX_MEASURED],
    )
    if len(rows) < _MIN_MEASURED:
        low, high = _REPLY[plan.purpose]
        prompt = (_PROMPT_RANGE[0], _PROMPT_RANGE[1] * _MAX_REPAIRED)
        return Measured(n=0, prompt=prompt, reply=(low, high * _MAX_REPAIRED))
    sizes = [(row["tokens_in"], plan.prompts.get(row["key"])) for row in rows]
    factors = [tokens / _tokens(prompt) for tokens, prompt in sizes if prompt]
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


def _usd(price: float) -> str:
    """Return dollars, below one to a tenth of a cent."""
    return f"${price:,.2f}" if price >= 1 else f"${price:.3f}"


def _duration(seconds: float) -> str:
    return f"{seconds:,.0f} s" if seconds < 120 else f"{seconds / 60:,.0f} minutes"
