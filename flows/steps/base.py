"""Provide the frame of all steps: skip finished work, time it, write rows and state, report."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

from memoirist.data.schema.records import Done, Verdict
from memoirist.data.store.transaction import Transaction
from memoirist.flows.runtime.context import Context

R = TypeVar("R")
# The subject of a step that works on the whole workspace.
ALL = "*"
# SQL conditions on passages and pairs that several steps share.
NOT_DROPPED = (
    "source_row IS NULL AND id NOT IN (SELECT subject_id FROM verdicts"
    " WHERE subject = 'passages' AND NOT keep AND step IN ('gate', 'dedupe'))"
)
NOT_REJECTED = (
    "id NOT IN (SELECT subject_id FROM verdicts WHERE subject = 'pairs' AND NOT keep"
    " AND step IN ('curate', 'grade', 'dedupe'))"
)
NOT_WITHDRAWN = "source_id IN (SELECT id FROM sources WHERE withdrawn_at IS NULL)"
READING_ORDER = "(SELECT (added_at, id) FROM sources s WHERE s.id = source_id), document_id, ord"


class Step:
    """The work of one step on its subjects, due until it has finished with the same fingerprint.

    The fingerprint covers all inputs of the rows. It is stored in the table `done` in the same
    transaction as the rows, so that a killed run repeats only unfinished work. A step without a
    fingerprint has no state and is always due.
    """

    def __init__(
        self,
        context: Context,
        name: str,
        subject: str | Sequence[str] = ALL,
        fingerprint: str | None = None,
        verb: str | None = None,
    ) -> None:
        """Start the clock; `verb` is the command that reports the step, by default `name`."""
        self.context = context
        self.name = name
        self.verb = verb or name
        self.subjects = [subject] if isinstance(subject, str) else list(subject)
        self.fingerprint = fingerprint
        self._start = time.monotonic()

    @property
    def is_done(self) -> bool:
        """Tell whether the step has finished on all its subjects with this fingerprint."""
        store = self.context.workspace.store
        if self.fingerprint is None or not store.path.exists():
            return False
        n_done = store.value(
            "SELECT count(*) FROM done WHERE step = ? AND fingerprint = ?"
            " AND list_contains(?, subject_id)",
            self.name,
            self.fingerprint,
            self.subjects,
        )
        return bool(n_done == len(self.subjects))

    def call(self, label: str, function: Callable[[], R]) -> R:
        """Run a plain function; a flow runs it as a Prefect task named by the verb."""
        return self.context.call(self.verb, label, function)

    @contextmanager
    def writing(self, *, finished: bool = True) -> Iterator[Transaction]:
        """Yield the transaction of the step's rows, and write the step's state at its end.

        Without `finished` no state is left, so that the next run repeats the step.
        """
        with self.context.workspace.store.writing() as tx:
            yield tx
            if self.fingerprint is None:
                return
            if finished:
                tx.upsert(
                    [
                        Done(subject_id=subject, step=self.name, fingerprint=self.fingerprint)
                        for subject in self.subjects
                    ]
                )
            else:
                tx.execute(
                    "DELETE FROM done WHERE step = ? AND list_contains(?, subject_id)",
                    [self.name, self.subjects],
                )

    def replace_verdicts(
        self, tx: Transaction, verdicts: Iterable[Verdict], source: str | Mapping[str, str]
    ) -> None:
        """Replace the step's verdicts.

        `source` is the id of the only source concerned, or, for a step on the whole workspace,
        maps subject ids to source ids.
        """
        if isinstance(source, str):
            tx.execute("DELETE FROM verdicts WHERE step = ? AND source_id = ?", [self.name, source])
        else:
            tx.execute("DELETE FROM verdicts WHERE step = ?", [self.name])
        tx.upsert(
            [
                replace(
                    verdict,
                    step=self.name,
                    source_id=source if isinstance(source, str) else source[verdict.subject_id],
                )
                for verdict in verdicts
            ]
        )

    def finish(self, n_rows: int, message: str) -> None:
        """Count the changed rows and report the step in one line."""
        self.context.count(self.verb, n_rows)
        self.report(message)

    def report(self, message: str) -> None:
        """Report the step in one line with its duration."""
        self.context.report.step(self.verb, message, time.monotonic() - self._start)


def fingerprint(*inputs: object) -> str:
    """Return a hash of a step's inputs: settings, ids, content hashes."""
    joined = "\x1f".join(str(part) for part in inputs)
    return hashlib.blake2b(joined.encode(), digest_size=12).hexdigest()


def ids_hash(context: Context, rows: str, *parameters: object) -> str | None:
    """Return a hash of the ids that a query selects; None without rows."""
    sql = f"SELECT md5(string_agg(id, ',' ORDER BY id)) FROM ({rows})"
    content: str | None = context.workspace.store.value(sql, *parameters)
    return content


def remove_rows(context: Context, name: str, verb: str, *tables: str) -> None:
    """Delete the rows of a step that the recipe has turned off; paid replies stay."""
    store = context.workspace.store
    counts = [f"SELECT count(*) AS n FROM {table}" for table in tables]
    counts += [f"SELECT count(*) AS n FROM {t} WHERE step = '{name}'" for t in ("done", "verdicts")]
    if not store.value(f"SELECT sum(n) FROM ({' UNION ALL '.join(counts)})"):
        return
    with store.writing() as tx:
        for table in tables:
            tx.execute(f"DELETE FROM {table}")
        for table in ("done", "verdicts"):
            tx.execute(f"DELETE FROM {table} WHERE step = ?", [name])
    context.count(verb, 1)
