"""Pair every passage with its questions, score the pairs and drop bad ones by rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, fields
from functools import partial

from memoirist.data.curation import duplicates, embeddings, pairing, rules
from memoirist.data.curation.rules import RULES_VERSION
from memoirist.data.schema.records import Pair, Passage, Question
from memoirist.data.store import exchanges
from memoirist.data.store.transaction import Transaction, statement
from memoirist.flows.runtime.context import Context, persona_language
from memoirist.flows.steps.base import NOT_DROPPED, READING_ORDER, Step, fingerprint, remove_rows
from memoirist.flows.steps.polish import polished_answers
from memoirist.train.inference import sentence_model

# The passages to pair. SQL judges the exchanges of datasets; `compose` adds the disclosure.
_LIVE = (
    f"{NOT_DROPPED} AND source_id IN"
    " (SELECT id FROM sources WHERE withdrawn_at IS NULL AND format <> 'disclosure')"
)
# Covers all columns: a passage in a renamed chapter keeps its id.
CONTENT_HASH = "md5(string_agg({0}::VARCHAR, ',' ORDER BY id))"
# The ids of exchanges are content hashes; `bit_xor` needs no order. The ids of conversations depend
# on the unmasked text, and the fingerprint of `extract` covers masking.
EXCHANGES_HASH = (
    "SELECT (count(*), bit_xor(md5_number_lower(id)), (SELECT list((s.id, withdrawn_at, mix_share,"
    " d.fingerprint) ORDER BY s.id) FROM sources s LEFT JOIN done d ON d.subject_id = s.id"
    " AND d.step = 'extract' WHERE kind = 'dataset'))::VARCHAR FROM exchanges"
)
# These stay, because the lineage of the dataset needs them.
_IN_DATASET = "id IN (SELECT unnest(pair_ids) FROM conversations)"
JUDGED_SOURCE = "source_id IN (SELECT subject_id FROM done WHERE step = 'pair')"
# Sources that were read again, perhaps with the same content.
UNJUDGED_SOURCES = (
    "SELECT count(*) FROM (SELECT DISTINCT source_id FROM exchanges) WHERE source_id IN"
    f" (SELECT subject_id FROM done WHERE step = 'extract') AND NOT {JUDGED_SOURCE}"
)


def curate_pairs(context: Context) -> None:
    """Pair every live passage with its best question and judge the pairs.

    Without `curate.judge`, earlier grades do not count; their replies stay and are not paid for
    again.
    """
    store = context.workspace.store
    if not context.recipe.curate.judge:
        remove_rows(context, "grade", "judge")
    lang, polished = persona_language(context), polished_answers(context)
    semantic = context.recipe.curate.semantic and lang == sentence_model.LANG
    semantic = semantic and sentence_model.is_installed()
    step = Step(context, "curate", fingerprint=_inputs(context, lang, polished, semantic))
    if step.is_done and not store.value(UNJUDGED_SOURCES):
        return
    passages = store.nouns(Passage, f"{_LIVE} ORDER BY {READING_ORDER}", own=True)
    # The newest comes last; a generated question without `nth` is not selected.
    questions = store.nouns(
        Question,
        "origin <> 'disclosure' AND (origin <> 'generated' OR nth IS NOT NULL) ORDER BY rowid",
        own=True,
    )
    pairs = step.call(
        f"{len(passages)} passages", partial(pairing.pair, passages, questions, polished)
    )
    if semantic:
        step.call("embeddings", partial(_embed, context, pairs))
    with step.writing() as tx:
        _write(tx, pairs, context)
        rules.set_thresholds(tx, context.recipe.curate, lang)
        rules.measure_pairs(tx)
        embeddings.compare_pairs(tx, semantic=semantic)
        rules.judge_pairs(tx)
        exchanges.judge(tx, context.now)
        duplicates.drop_pairs(tx, context.recipe.curate.duplicates, context.now)
        rules.measure_passages(tx, lang)
    _report(step)


def _inputs(context: Context, lang: str, polished: Mapping[str, str], semantic: bool) -> str:
    """Return the fingerprint of what the pairs and their verdicts depend on."""
    store = context.workspace.store
    return fingerprint(
        store.value(
            f"SELECT {CONTENT_HASH.format('cut_passages')} FROM cut_passages WHERE {_LIVE}"
        ),
        store.value(
            "SELECT md5(string_agg(id || coalesce(nth, 0), ',' ORDER BY rowid))"
            " FROM asked_questions WHERE origin <> 'disclosure'"
        ),
        store.value(EXCHANGES_HASH),
        context.recipe.curate.model_dump_json(),
        RULES_VERSION,
        duplicates.VERSION,
        semantic,
        lang,
        *sorted(polished.items()),
    )


def _embed(context: Context, pairs: Sequence[Pair]) -> None:
    """Embed the texts that have no vector yet, while the store is free for others."""
    store = context.workspace.store
    with store.trial() as tx:
        tx.execute(f"CREATE TEMP TABLE made_pairs AS FROM made_pairs WHERE {_IN_DATASET}")
        tx.upsert(pairs)
        texts = embeddings.missing_texts(tx)
    for vectors in embeddings.embed_texts(texts, sentence_model.embed):
        with store.writing() as tx:
            embeddings.save_vectors(tx, vectors)


def _write(tx: Transaction, pairs: Sequence[Pair], context: Context) -> None:
    """Write the pairs that are new or have changed, and delete those that are gone."""
    tx.temporary("wanted", {"id": [pair.id for pair in pairs]})
    tx.execute(
        f"DELETE FROM made_pairs WHERE NOT {_IN_DATASET} AND id NOT IN (SELECT id FROM wanted)"
    )
    names = ", ".join(field.name for field in fields(Pair))
    known = {row[0]: row for row in tx.fetch(f"SELECT {names} FROM made_pairs")}
    tx.upsert([pair for pair in pairs if known.get(pair.id) != astuple(pair)])
    tx.run("pair_leftovers", {})


def _report(step: Step) -> None:
    rows = step.context.workspace.store.rows(statement("pair_counts"))
    n_by_rule = {row["rule"]: int(row["n"]) for row in rows}
    n_pairs, n_kept = sum(n_by_rule.values()), n_by_rule.pop(None, 0)
    rules = ", ".join(f"{n:,} {rule}" for rule, n in list(n_by_rule.items())[:5])
    kept = f"{n_kept:,} of {n_pairs:,} pairs kept"
    step.finish(n_pairs, kept + (f" ({rules})" if rules else ""))
