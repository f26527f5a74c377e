"""Passages and pairs in a database in memory, judged by the statements of the store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import duckdb

from memoirist.data.curation import rules
from memoirist.data.curation.pairing import CurateSettings
from memoirist.data.schema.records import Pair, Passage, Verdict
from memoirist.data.store.store import migrate
from memoirist.data.store.transaction import Transaction
from tests.support.rows import passage, source


@contextmanager
def store(kind: str = "book", lang: str = "en", **settings: object) -> Iterator[Transaction]:
    """Yield a database with one source and the thresholds of a language."""
    connection = duckdb.connect(":memory:")
    migrate(connection)
    tx = Transaction(connection)
    tx.upsert([source(kind)])
    rules.set_thresholds(tx, CurateSettings.model_validate(settings), lang)
    yield tx
    connection.close()


def verdicts(tx: Transaction) -> list[Verdict]:
    """Return all verdicts, drops first."""
    names = "subject_id, subject, rule, keep, reason, created_at, score, beaten_by, next_step"
    rows = tx.fetch(f"SELECT {names} FROM verdicts ORDER BY keep, subject_id, rule")
    return [Verdict(**dict(zip(names.split(", "), row, strict=True))) for row in rows]


def gated(passages: Sequence[Passage], kind: str, lang: str, **settings: object) -> list[Verdict]:
    """Return what the gates decide on passages of one source."""
    with store(kind, lang, **settings) as tx:
        tx.upsert([replace(source(kind), id=name) for name in {p.source_id for p in passages}])
        tx.upsert(list(passages))
        rules.measure_passages(tx, lang)
        rules.gate_passages(tx)
        return verdicts(tx)


def judged(
    pairs: Sequence[Pair], lang: str = "en", **settings: object
) -> tuple[dict[str, dict[str, float]], list[Verdict]]:
    """Return the parts of the score by pair, and what the rules decide."""
    with store(lang=lang, **settings) as tx:
        tx.upsert([replace(passage(n), id=pair.passage_id) for n, pair in enumerate(pairs)])
        tx.upsert(list(pairs))
        rules.measure_pairs(tx)
        rules.judge_pairs(tx)
        result = tx.connection.execute("FROM pair_scores")
        names = [column[0] for column in result.description or ()]
        rows = [dict(zip(names, row, strict=True)) for row in result.fetchall()]
        return {row.pop("pair_id"): row for row in rows}, verdicts(tx)
