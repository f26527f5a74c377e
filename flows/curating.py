"""Pair, judge and compose: from questions to a dataset version."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial

from data import curate, select
from data.compose import Composed, compose, with_mixed
from data.errors import NothingToDo
from data.nouns import Dataset, Done, GroupSplit, Pair, Passage, Question, Source, Split, Verdict
from data.select import Limits
from data.store import exchanges
from flows.context import Context, fingerprint
from flows.following import follow_ups
from flows.polishing import polished_answers
from flows.splitting import persona_language
from flows.train_only import TrainOnly, disclosure_mark, train_only

# Of the passages that are cut: the exchanges of datasets are judged by themselves, in SQL.
_LIVE = (
    "source_row IS NULL AND id NOT IN"
    " (SELECT subject_id FROM verdicts WHERE subject = 'passages' AND NOT keep"
    " AND step IN ('gate', 'dedupe'))"
    # What teaches the disclosure is made whole when a dataset is composed.
    " AND source_id IN (SELECT id FROM sources WHERE withdrawn_at IS NULL AND"
    " format <> 'disclosure')"
)
# Whatever of a row decides what is made of it: a renamed chapter keeps its passages' ids.
_CONTENT = "md5(string_agg({0}::VARCHAR, ',' ORDER BY id))"
_SUPERSEDE = (
    "INSERT INTO verdicts BY NAME SELECT id AS subject_id, 'pairs' AS subject,"
    " 'superseded' AS rule, false AS keep,"
    " 'an earlier dataset holds it; today its passage has another or none' AS reason,"
    " ?::TIMESTAMPTZ AS created_at, 'nothing' AS next_step, 'curate' AS step, source_id"
    " FROM made_pairs WHERE origin <> 'disclosure' AND NOT list_contains(?, id)"
)
# Ids of exchanges hang on their content; the sum of their hashes needs no order.
# Those of conversations on what was read before masking: the mark of the extraction tells it.
_EXCHANGES = (
    "SELECT (count(*), bit_xor(md5_number_lower(id)), (SELECT list((s.id, withdrawn_at, mix_share,"
    " d.fingerprint) ORDER BY s.id) FROM sources s LEFT JOIN done d ON d.subject_id = s.id"
    " AND d.step = 'extract' WHERE kind = 'dataset'))::VARCHAR FROM exchanges"
)
_JUDGED = "source_id IN (SELECT subject_id FROM done WHERE step = 'pair')"
# Read anew, and perhaps the same to the letter as when they were judged last.
_UNJUDGED = (
    "SELECT count(*) FROM (SELECT DISTINCT source_id FROM exchanges) WHERE source_id IN"
    f" (SELECT subject_id FROM done WHERE step = 'extract') AND NOT {_JUDGED}"
)
_KEPT = (
    "id NOT IN (SELECT subject_id FROM verdicts WHERE subject = 'pairs' AND NOT keep"
    " AND step IN ('curate', 'judge', 'grade'))"
    " AND source_id IN (SELECT id FROM sources WHERE withdrawn_at IS NULL)"
)
_ORDER = "(SELECT (added_at, id) FROM sources s WHERE s.id = source_id), document_id, ord"


def curate_pairs(context: Context) -> None:
    """Pair every live passage with its best question and judge the pairs."""
    store = context.workspace.store
    lang, polished = persona_language(context), polished_answers(context)
    mark = fingerprint(
        store.value(f"SELECT {_CONTENT.format('cut_passages')} FROM cut_passages WHERE {_LIVE}"),
        store.value(
            "SELECT md5(string_agg(id || coalesce(nth, 0), ',' ORDER BY rowid))"
            " FROM asked_questions WHERE origin <> 'disclosure'"
        ),
        store.value(_EXCHANGES),
        context.recipe.curate.model_dump_json(),
        lang,
        # Without polished answers the mark is the one of earlier versions.
        *sorted(polished.items()),
    )
    if context.is_done("*", "curate", mark) and not store.value(_UNJUDGED):
        return
    with context.timed() as seconds:
        passages = store.nouns(Passage, f"{_LIVE} ORDER BY {_ORDER}", own=True)
        # The newest last; a generated one without a place has given way to others.
        questions = store.nouns(
            Question,
            "origin <> 'disclosure' AND (origin <> 'generated' OR nth IS NOT NULL) ORDER BY rowid",
            own=True,
        )
        made = curate.pair(passages, questions, polished)
        step = partial(_curate, context, made, questions, lang)
        pairs, verdicts = context.call("curate", f"{len(passages)} passages", step)
        with store.writing() as tx:
            # What a dataset holds stays, or the way back from it would be lost.
            tx.execute(
                "DELETE FROM made_pairs WHERE id NOT IN"
                " (SELECT unnest(pair_ids) FROM conversations)"
            )
            tx.execute("DELETE FROM verdicts WHERE step = 'curate'")
            tx.upsert(pairs)
            tx.upsert(verdicts)
            tx.execute(_SUPERSEDE, [context.now, [pair.id for pair in pairs]])
            exchanges.judge(tx, context.now)
            tx.upsert([Done(subject_id="*", step="curate", fingerprint=mark)])
    found = int(store.value("SELECT count(*) FROM pairs"))
    rows = store.rows(
        "SELECT rule, count(*) AS n FROM verdicts WHERE subject = 'pairs' AND NOT keep"
        " AND step IN ('curate', 'judge') AND rule <> 'superseded' GROUP BY rule ORDER BY n DESC"
    )
    dropped = Counter({row["rule"]: int(row["n"]) for row in rows})
    superseded = "SELECT count(*) FROM verdicts WHERE rule = 'superseded' AND subject = 'pairs'"
    found -= int(store.value(superseded))
    context.count("curate", found)
    told = ", ".join(f"{n:,} {rule}" for rule, n in dropped.most_common(5))
    context.report.step(
        "curate",
        f"{found - dropped.total():,} of {found:,} pairs kept" + (f" ({told})" if told else ""),
        seconds(),
    )


def _curate(
    context: Context, pairs: list[Pair], questions: list[Question], lang: str
) -> tuple[list[Pair], list[Verdict]]:
    scored, verdicts = curate.judge(pairs, lang, context.recipe.curate, context.now)
    source_of = {pair.id: pair.source_id for pair in scored}
    verdicts = [replace(v, step="curate", source_id=source_of[v.subject_id]) for v in verdicts]
    chosen = {pair.question_id: pair for pair in scored}
    asked = {pair.passage_id: pair for pair in scored}
    passed_over = [
        Verdict(
            subject_id=q.id,
            subject="questions",
            rule="not_chosen",
            keep=False,
            reason="the passage has a better question",
            created_at=context.now,
            beaten_by=asked[q.passage_id].question_id,
            next_step="nothing",
            step="curate",
            source_id=asked[q.passage_id].source_id,
        )
        for q in questions
        if q.id not in chosen and q.passage_id in asked
    ]
    return scored, verdicts + passed_over


def latest_dataset(context: Context) -> Dataset | None:
    """Return the newest dataset version, or None."""
    found = context.workspace.store.nouns(Dataset, "true ORDER BY created_at DESC LIMIT 1")
    return found[0] if found else None


def refuse_withdrawn(context: Context, dataset_id: str) -> None:
    """Raise NothingToDo for a dataset that still holds pairs of a source withdrawn since."""
    titles = context.workspace.store.rows(
        "SELECT DISTINCT s.title FROM sources s JOIN pairs a ON a.source_id = s.id"
        " WHERE s.withdrawn_at IS NOT NULL AND a.id IN"
        " (SELECT unnest(pair_ids) FROM conversations WHERE dataset_id = ?) ORDER BY ALL",
        [dataset_id],
    )
    if titles:
        named = ", ".join(str(row["title"]) for row in titles)
        raise NothingToDo(
            f"dataset {dataset_id} holds what was withdrawn since: {named}",
            "compose a new one with `memoirist compose`",
        )


def compose_dataset(context: Context) -> Dataset:
    """Compose the kept pairs into a dataset version and return it, new or as it was."""
    store = context.workspace.store
    lang = persona_language(context)
    system = context.recipe.persona.system_prompt(lang)
    settings = context.recipe.compose
    shares = _shares(context)
    mark = fingerprint(
        store.value(
            f"SELECT {_CONTENT.format('made_pairs')} FROM made_pairs WHERE {_KEPT}"
            " AND origin <> 'disclosure'"
        ),
        store.value(f"{_EXCHANGES} WHERE {_KEPT} AND {_JUDGED}"),
        settings.model_dump_json(),
        sorted(shares.items()),
        system,
        disclosure_mark(context, lang),
        # Without follow-ups the mark is the one of earlier versions.
        *sorted(each.question + each.pair_id for each in follow_ups(context).values()),
    )
    latest = latest_dataset(context)
    if latest is not None and context.is_done(latest.id, "compose", mark):
        return latest
    limits = Limits(pairs=settings.max_pairs, of_group=settings.max_group_pairs, seed=settings.seed)
    pairs = select.best(store, limits)
    if waiting := int(store.value(_UNJUDGED)):
        context.report.warn(
            f"sources whose exchanges are not judged yet, and in nothing composed now: {waiting};"
            " run `memoirist curate` and compose again"
        )
    if not pairs:
        raise NothingToDo(
            "no pair is kept, so there is nothing to compose",
            "`memoirist look dropped` tells by which rules; the limits stand under [curate]",
        )
    before: dict[str, Split] = {g.group_id: g.split for g in store.nouns(GroupSplit)}
    step = partial(compose, pairs, system, settings, before, context.now, follow_ups(context))
    with context.timed() as seconds:
        composed = context.call("compose", f"{len(pairs)} pairs", step)
        mixed = select.mixed(store, shares, composed.dataset.n_train, settings.seed)
        if mixed:
            composed = with_mixed(composed, mixed, pairs, settings, context.now)
        added = train_only(context, lang, composed.conversations)
        if added.pairs:
            composed = with_mixed(composed, added.pairs, pairs, settings, context.now, system)
        dataset = _store(context, composed, latest, added, [*pairs, *mixed], mark)
    context.count("compose", len(composed.conversations))
    purged = f"; {len(composed.verdicts)} too close to test" if composed.verdicts else ""
    if mixed:
        n_mixed = sum(set(c.pair_ids) <= {p.id for p in mixed} for c in composed.conversations)
        purged = f", {n_mixed:,} of them mixed in{purged}"
    purged = f"{added.told}{purged}"
    context.report.step(
        "compose",
        f"dataset {dataset.id}: {dataset.n_train:,} train, {dataset.n_validation:,} validation,"
        f" {dataset.n_test:,} test conversations{purged}",
        seconds(),
    )
    answers = len({pair.answer for pair in pairs})
    if answers < 300:
        context.report.note(
            f"{answers} unique answers; 800 to 3,000 carry a voice: more sources would help"
        )
    return dataset


def _store(  # noqa: PLR0913 - what goes into one transaction
    context: Context,
    composed: Composed,
    latest: Dataset | None,
    added: TrainOnly,
    pairs: list[Pair],
    mark: str,
) -> Dataset:
    source_of = {pair.id: pair.source_id for pair in [*pairs, *added.pairs]}
    dataset = composed.dataset
    if latest is not None and latest.id != dataset.id:
        dataset = replace(dataset, parent_id=latest.id)
    elif latest is not None:
        dataset = latest
    with context.workspace.store.writing() as tx:
        tx.execute("DELETE FROM verdicts WHERE step = 'compose'")
        added.write(tx)
        tx.upsert([dataset])
        tx.upsert(composed.conversations)
        tx.upsert(composed.splits)
        tx.upsert(
            [
                replace(v, step="compose", source_id=source_of[v.subject_id])
                for v in composed.verdicts
            ]
        )
        told = {"most": context.recipe.compose.max_pairs, "now": context.now}
        select.drop_unselected(tx, dataset.id, told)
        tx.upsert([Done(subject_id=dataset.id, step="compose", fingerprint=mark)])
    return dataset


def _shares(context: Context) -> dict[str, float]:
    """Return the share of each source that is mixed in, by its id."""
    found = context.workspace.store.nouns(
        Source, "mix_share IS NOT NULL AND withdrawn_at IS NULL ORDER BY id"
    )
    return {source.id: float(source.mix_share or 0) for source in found}
