"""What a build would still ask of an LLM, purpose by purpose: each call with its prompt.

What is not made yet stands in as it will be: a passage without its pair as a pair with a question
of usual length.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from data.nouns import Pair
from flows.asking import due_queries, eligible, known_model
from flows.context import Context
from flows.following import KEPT_PAIRS, follow_neighbours
from flows.judging import JUDGED_PAIRS, judge_settings
from flows.llm.interview_settings import resolved_settings
from flows.llm.runner import closed_keys
from flows.polishing import planned_polish, polish_settings
from flows.splitting import persona_language
from generators.client.pricing import estimate_tokens
from generators.prompts.prompts import write_brief
from generators.settings import InterviewSettings
from generators.tasks.base import TaskItem
from generators.tasks.cache_key import Queries, Query
from generators.tasks.follow_up import FollowUpTask
from generators.tasks.grade import GradeTask

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
class Planned:
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


def planned(context: Context) -> list[Planned]:
    """Return what the recipe turns on, in the order in which a build asks."""
    questions = _questions(context)
    found: list[Planned | None] = [
        questions,
        _polish(context),
        _judge(context),
        _follow_ups(context),
    ]
    return [each for each in found if each is not None]


def _questions(context: Context) -> Planned:
    settings, model = resolved_settings(context, keep=False), known_model(context)
    persona = context.recipe.persona.name
    asked = Queries(settings, persona, model or "")
    queries = {query.key: query for query in map(asked.of, eligible(context))}
    due = due_queries(list(queries.values()), closed_keys(context, "interview", settings))

    def tokens(query: Query) -> int:
        brief = write_brief(query.passage, persona, query.lang, query.prompt)
        return _tokens(brief.messages)

    def estimate(key: str) -> int | None:
        return tokens(queries[key]) if key in queries else None

    return Planned(
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


def _polish(context: Context) -> Planned | None:
    if context.recipe.interview.answers == "verbatim":
        return None
    return _of_items(context, "polish", planned_polish(context), polish_settings(context))


def _judge(context: Context) -> Planned | None:
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


def _follow_ups(context: Context) -> Planned | None:
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
) -> Planned:
    by_key: Mapping[str, TaskItem] = {item.key: item for item in items}
    closed = closed_keys(context, purpose, settings)
    due = [item for key, item in by_key.items() if key not in closed]

    def estimate(key: str) -> int | None:
        return _tokens(by_key[key].messages) if key in by_key else None

    return Planned(
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
            id=each.id,
            source_id=each.source_id,
            passage_id=each.id,
            question_id=each.id,
            group_id=each.group_id,
            thread_id=each.id,
            ord=0,
            question=_USUAL_QUESTION,
            answer=each.text,
            origin="generated",
        )
        for each in eligible(context)
        if each.id not in paired
    ]


def _tokens(messages: Sequence[Mapping[str, str]]) -> int:
    return estimate_tokens(*(message["content"] for message in messages))
