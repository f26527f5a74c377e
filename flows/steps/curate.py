"""Pair every passage with its questions, score the pairs and drop bad ones by rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial

from memoirist.data.curation import duplicates, pairing
from memoirist.data.schema.records import Fault, Pair, Passage, Question, Verdict
from memoirist.data.store import exchanges
from memoirist.flows.runtime.context import Context, persona_language
from memoirist.flows.steps.base import NOT_DROPPED, READING_ORDER, Step, fingerprint
from memoirist.flows.steps.polish import polished_answers

# The passages to pair. SQL judges the exchanges of datasets; `compose` adds the disclosure.
_LIVE = (
    f"{NOT_DROPPED} AND source_id IN"
    " (SELECT id FROM sources WHERE withdrawn_at IS NULL AND format <> 'disclosure')"
)
# Covers all columns: a passage in a renamed chapter keeps its id.
CONTENT_HASH = "md5(string_agg({0}::VARCHAR, ',' ORDER BY id))"
_SUPERSEDE = (
    "INSERT INTO verdicts BY NAME SELECT id AS subject_id, 'pairs' AS subject,"
    " 'superseded' AS rule, false AS keep,"
    " 'an earlier dataset holds it; today its passage has another or none' AS reason,"
    " ?::TIMESTAMPTZ AS created_at, 'nothing' AS next_step, 'curate' AS step, source_id"
    " FROM made_pairs WHERE origin <> 'disclosure' AND NOT list_contains(?, id)"
)
# The ids of exchanges are content hashes; `bit_xor` needs no order. The ids of conversations depend
# on the unmasked text, and the fingerprint of `extract` covers masking.
EXCHANGES_HASH = (
    "SELECT (count(*), bit_xor(md5_number_lower(id)), (SELECT list((s.id, withdrawn_at, mix_share,"
    " d.fingerprint) ORDER BY s.id) FROM sources s LEFT JOIN done d ON d.subject_id = s.id"
    " AND d.step = 'extract' WHERE kind = 'dataset'))::VARCHAR FROM exchanges"
)
JUDGED_SOURCE = "source_id IN (SELECT subject_id FROM done WHERE step = 'pair')"
# Sources that were read again, perhaps with the same content.
UNJUDGED_SOURCES = (
    "SELECT count(*) FROM (SELECT DISTINCT source_id FROM exchanges) WHERE source_id IN"
    f" (SELECT subject_id FROM done WHERE step = 'extract') AND NOT {JUDGED_SOURCE}"
)


def curate_pairs(context: Context) -> None:
    """Pair every live passage with its best question and judge the pairs."""
    store = context.workspace.store
    lang, polished = persona_language(context), polished_answers(context)
    state = fingerprint(
        store.value(
            f"SELECT {CONTENT_HASH.format('cut_passages')} FROM cut_passages WHERE {_LIVE}"
        ),
        store.value(
            "SELECT md5(string_agg(id || coalesce(nth, 0), ',' ORDER BY rowid))"
            " FROM asked_questions WHERE origin <> 'disclosure'"
        ),
        store.value(EXCHANGES_HASH),
        context.recipe.curate.model_dump_json(),
        lang,
        *sorted(polished.items()),
    )
    step = Step(context, "curate", fingerprint=state)
    if step.is_done and not store.value(UNJUDGED_SOURCES):
        return
    passages = store.nouns(Passage, f"{_LIVE} ORDER BY {READING_ORDER}", own=True)
    # The newest comes last; a generated question without `nth` is not selected.
    questions = store.nouns(
        Question,
        "origin <> 'disclosure' AND (origin <> 'generated' OR nth IS NOT NULL) ORDER BY rowid",
        own=True,
    )
    function = partial(
        pairing.judge,
        pairing.pair(passages, questions, polished),
        lang,
        context.recipe.curate,
        context.now,
    )
    pairs, verdicts = step.call(f"{len(passages)} passages", function)
    verdicts = [*verdicts, *_not_chosen(context, pairs, questions)]
    source_of = {passage.id: passage.source_id for passage in passages}
    source_of |= {pair.id: pair.source_id for pair in pairs}
    source_of |= {q.id: source_of[q.passage_id] for q in questions if q.passage_id in source_of}
    with step.writing() as tx:
        # Pairs in a dataset stay, because its lineage needs them.
        tx.execute(
            "DELETE FROM made_pairs WHERE id NOT IN (SELECT unnest(pair_ids) FROM conversations)"
        )
        step.replace_verdicts(tx, verdicts, source_of)
        tx.upsert(pairs)
        tx.execute(_SUPERSEDE, [context.now, [pair.id for pair in pairs]])
        exchanges.judge(tx, context.now)
        duplicates.drop_pairs(tx, context.recipe.curate.duplicates, context.now)
    _report(step)


def _not_chosen(
    context: Context, pairs: Sequence[Pair], questions: Sequence[Question]
) -> list[Verdict]:
    """Return a verdict for each unused question of a paired passage."""
    paired = {pair.question_id for pair in pairs}
    pair_of = {pair.passage_id: pair for pair in pairs}
    fault = Fault("not_chosen", "the passage has a better question", "nothing")
    return [
        fault._replace(beaten_by=pair_of[question.passage_id].question_id).verdict(
            "questions", question.id, context.now
        )
        for question in questions
        if question.id not in paired and question.passage_id in pair_of
    ]


def _report(step: Step) -> None:
    store = step.context.workspace.store
    rows = store.rows(
        "SELECT rule, count(*) AS n FROM verdicts WHERE subject = 'pairs' AND NOT keep"
        " AND step IN ('curate', 'judge', 'dedupe') GROUP BY rule ORDER BY n DESC"
    )
    dropped = Counter({row["rule"]: int(row["n"]) for row in rows})
    n_pairs = int(store.value("SELECT count(*) FROM pairs")) - dropped.pop("superseded", 0)
    rules = ", ".join(f"{n:,} {rule}" for rule, n in dropped.most_common(5))
    kept = f"{n_pairs - dropped.total():,} of {n_pairs:,} pairs kept"
    step.finish(n_pairs, kept + (f" ({rules})" if rules else ""))
