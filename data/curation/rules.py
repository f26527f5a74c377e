"""Measure, gate, judge and score passages and pairs by SQL over their tables.

The statements stand in data/store/queries: passage_signals, passage_gates, pair_scopes,
pair_signals, pair_scores and pair_rules. They read the thresholds in force from a table and touch
new and changed rows only.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import duckdb

from memoirist.data.curation.pairing import CurateSettings
from memoirist.data.passages.quality_filters import of_language
from memoirist.data.passages.quotation import quote_style, quoted_share
from memoirist.data.schema.records import Done
from memoirist.data.store.store import migrate
from memoirist.data.store.transaction import Transaction, statement
from memoirist.data.text.language_detection import LANGUAGES, detect_language
from memoirist.data.text.words import function_words, sentences, stop_words

if TYPE_CHECKING:
    import pyarrow as pa

# A change of the statements measures and judges everything again.
RULES_VERSION = 2
# Sources where quotation marks stand for another's speech.
_WRITTEN = ("book", "text", "dataset")
# Pairs measured in one statement: their words are some hundred megabytes.
_PAIRS_AT_ONCE = 20_000
_PASSAGES_AT_ONCE = 1_000
_GATED = (
    "SELECT count(*), bit_xor(md5_number_lower(subject_id || rule || reason)) FROM verdicts"
    " WHERE step = 'gate'"
)


def thresholds(settings: CurateSettings, lang: str) -> dict[str, float]:
    """Return the thresholds in force for a language by recipe key, such as gates.min_stop_share."""
    gates = of_language(settings.gates, lang)
    tables = {"": settings, "gates.": gates, "rejects.": settings.rejects}
    return {
        prefix + key: float(value)
        for prefix, table in tables.items()
        for key, value in table
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def set_thresholds(tx: Transaction, settings: CurateSettings, lang: str) -> None:
    """Write the thresholds and the lists of function words where they differ from the stored."""
    values = thresholds(settings, lang)
    rows = sorted((name, lang, value) for name, value in values.items())
    if tx.fetch("SELECT name, lang, value FROM thresholds ORDER BY name") != rows:
        tx.execute("DELETE FROM thresholds")
        tx.execute(
            "INSERT INTO thresholds SELECT unnest($names), $lang, unnest($values)",
            {"names": list(values), "lang": lang, "values": list(values.values())},
        )
    words = sorted(
        (code, word, word in stop_words(code))
        for code in {*LANGUAGES, "zh", lang}
        for word in function_words(code)
    )
    if tx.fetch("SELECT lang, word, stop FROM word_lists ORDER BY ALL") != words:
        tx.execute("DELETE FROM word_lists")
        lists = [list(column) for column in zip(*words, strict=True)]
        tx.execute("INSERT INTO word_lists SELECT unnest(?), unnest(?), unnest(?)", lists)


def measure_passages(tx: Transaction, lang: str) -> int:
    """Measure new passages, and those of a book whose style of quotation marks has changed.

    Return their number. Python measures what SQL cannot, batch by batch.
    """
    import pyarrow as pa

    _forget_older(tx, "passages", "passage_measures", "passage_signals")
    tx.execute(
        "DELETE FROM passage_measures WHERE lang <> ? OR passage_id NOT IN"
        " (SELECT id FROM cut_passages)",
        [lang],
    )
    due = tx.fetch(
        "SELECT DISTINCT s.id, s.kind FROM cut_passages p JOIN sources s ON s.id = p.source_id"
        " WHERE p.id NOT IN (SELECT passage_id FROM passage_measures) ORDER BY s.id"
    )
    n_measured = 0
    for source_id, kind in due:
        rows = tx.fetch(
            "SELECT p.id, p.text, m.passage_id IS NOT NULL, m.quote_style FROM cut_passages p"
            " LEFT JOIN passage_measures m ON m.passage_id = p.id WHERE p.source_id = ?"
            " ORDER BY p.document_id, p.ord",
            [source_id],
        )
        style = quote_style((text for _, text, *_ in rows), lang) if kind in _WRITTEN else None
        texts = {id_: text for id_, text, known, old in rows if not known or old != style}
        n_measured += len(texts)
        tx.execute("DELETE FROM passage_measures WHERE list_contains(?, passage_id)", [list(texts)])
        batches = _measured(texts, lang, style)
        schema = pa.schema([(name, kind) for name, kind in _columns().items()])
        tx.insert_arrow(batches, schema, "INSERT INTO passage_measures BY NAME FROM incoming", {})
    tx.run("passage_signals", {})
    return n_measured


def _forget_older(tx: Transaction, subject: str, *tables: str) -> None:
    """Delete what the rules of another version have measured."""
    version = str(RULES_VERSION)
    known = "SELECT fingerprint FROM done WHERE step = 'rules' AND subject_id = ?"
    if tx.fetch(known, [subject]) != [(version,)]:
        for table in tables:
            tx.execute(f"DELETE FROM {table}")
        tx.upsert([Done(subject_id=subject, step="rules", fingerprint=version)])


def _columns() -> Mapping[str, pa.DataType]:
    import pyarrow as pa

    texts, ratios = pa.string(), pa.float64()
    return {
        "passage_id": texts,
        "lang": texts,
        "zlib_ratio": ratios,
        "n_sentences": pa.int32(),
        "quoted_share": ratios,
        "detected_lang": texts,
        "quote_style": texts,
    }


def _measured(texts: Mapping[str, str], lang: str, style: str | None) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    rows = list(texts.items())
    for start in range(0, len(rows), _PASSAGES_AT_ONCE):
        part = rows[start : start + _PASSAGES_AT_ONCE]
        values = [
            [id_ for id_, _ in part],
            [lang] * len(part),
            [_zlib_ratio(text) for _, text in part],
            [len(sentences(text)) for _, text in part],
            [quoted_share(text, lang, style) for _, text in part],
            [detect_language(text) for _, text in part],
            [style] * len(part),
        ]
        columns = _columns()
        arrays = [pa.array(v, kind) for v, kind in zip(values, columns.values(), strict=True)]
        yield pa.RecordBatch.from_arrays(arrays, names=list(columns))


def _zlib_ratio(text: str) -> float:
    encoded = text.encode("utf-8")
    return len(zlib.compress(encoded, 9)) / len(encoded) if encoded else 0.0


def gate_passages(tx: Transaction) -> int:
    """Write what the gates decide on all passages, as far as it differs; return 1 if it does."""
    before = tx.fetch(_GATED)[0]
    tx.run("passage_gates", {})
    return int(before != tx.fetch(_GATED)[0])


def measure_pairs(tx: Transaction) -> int:
    """Measure new pairs, and those whose scope has another sample; return their number."""
    _forget_older(tx, "pairs", "pair_signals")
    tx.run("pair_scopes", {})
    ((n_stale,),) = tx.fetch("SELECT count(*) FROM stale")
    for first in range(1, n_stale + 1, _PAIRS_AT_ONCE):
        tx.execute(f"SET VARIABLE first_pair = {first}")
        tx.execute(f"SET VARIABLE last_pair = {first + _PAIRS_AT_ONCE - 1}")
        tx.run("pair_signals", {})
    tx.execute("RESET VARIABLE first_pair")
    tx.execute("RESET VARIABLE last_pair")
    return int(n_stale)


def judge_pairs(tx: Transaction) -> None:
    """Write the scores of all pairs and what the rules decide, as far as they differ."""
    for name in ("pair_scores", "pair_rules"):
        tx.run(name, {})


def what_if(
    tx: Transaction, settings: CurateSettings, lang: str
) -> tuple[list[str], list[tuple[object, ...]]]:
    """Return what would come and go by other settings: names and rows, five examples of each kind.

    `tx` is a trial: temporary tables take all that is written.
    """
    tx.execute(
        "CREATE TEMP TABLE before AS SELECT subject, subject_id, arg_min(rule, (created_at, rule))"
        " AS rule, arg_min(reason, (created_at, rule)) AS reason FROM verdicts"
        " WHERE NOT keep AND subject IN ('passages', 'pairs') GROUP BY subject, subject_id"
    )
    for table in ("thresholds", "word_lists", "verdicts", "pair_scores"):
        tx.execute(f"CREATE TEMP TABLE {table} AS FROM {table}")
    set_thresholds(tx, settings, lang)
    gate_passages(tx)
    judge_pairs(tx)
    result = tx.connection.execute(statement("what_if"))
    return [column[0] for column in result.description or ()], result.fetchall()


class Checked(NamedTuple):
    """What the rules say of a written question: the first that refuses it, and its quality."""

    rule: str | None
    reason: str | None
    quality: float


_checking = threading.Lock()
_CHECKED_SOURCE = (
    "INSERT INTO sources BY NAME SELECT '' AS id, 'text' AS kind, 'checked' AS format,"
    " '' AS location, '' AS sha256, now() AS added_at",
    "INSERT INTO cut_passages BY NAME SELECT '' AS id, '' AS source_id, '' AS document_id,"
    " 0 AS ord, '' AS group_id, '' AS text, 0 AS n_words",
    "CREATE TEMP TABLE scopes (scope VARCHAR, n BIGINT, mean_length DOUBLE)",
    "CREATE TEMP TABLE scope_stems (scope VARCHAR, stem VARCHAR, idf DOUBLE,"
    " mean_question DOUBLE, mean_answer DOUBLE)",
)
_CHECKED_PAIRS = (
    "INSERT INTO made_pairs BY NAME SELECT n::VARCHAR AS id, '' AS source_id, '' AS passage_id,"
    " '' AS question_id, '' AS group_id, '' AS thread_id, 0 AS ord, question, answer,"
    " 'generated' AS origin"
    " FROM (SELECT unnest(?) AS n, unnest(?) AS question, unnest(?) AS answer)"
)
_STALE = (
    "CREATE OR REPLACE TEMP TABLE stale AS SELECT row_number() OVER () AS n, id AS pair_id,"
    " 'none' AS scope, NULL::VARCHAR AS sample, question, answer FROM made_pairs"
)


def check_questions(
    pairs: Sequence[tuple[str, str]], lang: str, settings: CurateSettings
) -> list[Checked]:
    """Judge written questions, each with its answer, by the statements that judge stored pairs.

    They run in memory, so that a task needs no store. A question here has no scope whose statistics
    its relevance could be centred by. Takes a tenth of a second, for one as for many.
    """
    if not pairs:
        return []
    with _checking:
        tx = _memory()
        set_thresholds(tx, settings, lang)
        for table in ("made_pairs", "pair_signals", "pair_scores", "verdicts"):
            tx.execute(f"DELETE FROM {table}")
        questions, answers = zip(*pairs, strict=True)
        tx.execute(_CHECKED_PAIRS, [list(range(len(pairs))), list(questions), list(answers)])
        tx.execute(_STALE)
        for name in ("pair_signals", "pair_scores", "pair_rules"):
            tx.run(name, {})
        rows = tx.fetch(
            "SELECT v.rule, v.reason, s.quality FROM pair_scores s LEFT JOIN verdicts v"
            " ON v.subject_id = s.pair_id ORDER BY s.pair_id::INTEGER"
        )
    return [Checked(*row) for row in rows]


@cache
def _memory() -> Transaction:
    connection = duckdb.connect(":memory:", config={"threads": 1})
    migrate(connection)
    for sql in _CHECKED_SOURCE:
        connection.execute(sql)
    return Transaction(connection)
