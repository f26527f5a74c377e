"""The frame of all steps: skip what is done, time the work, write rows and state, report."""

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


class Step:
    """The work of one step on its subjects, due until it has finished with the same fingerprint.

    The fingerprint covers all inputs that the rows depend on. The table `done` holds it, written
    in the transaction of the rows: a killed run repeats what it has not finished, and nothing
    else. A step without a fingerprint has no state and is always due.
    """

    def __init__(
        self,
        context: Context,
        name: str,
        subject: str | Sequence[str] = ALL,
        fingerprint: str | None = None,
        verb: str | None = None,
    ) -> None:
        """Start the clock; `verb` is the command that counts and reports, if not `name`."""
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
        """Run a plain function, in a flow as a Prefect task under the step's verb."""
        return self.context.call(self.verb, label, function)

    @contextmanager
    def writing(self, *, finished: bool = True) -> Iterator[Transaction]:
        """Yield the transaction of the step's rows, and write its state at the end.

        Rows that are not `finished` leave no state: the next run does the step again.
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
        """Write verdicts in place of the step's earlier ones.

        `source` is the id of the one source that they are about, or, for those of the whole
        workspace, maps their subjects to sources.
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
        """Count the rows that have changed and report the step in one line."""
        self.context.count(self.verb, n_rows)
        self.report(message)

    def report(self, message: str) -> None:
        """Report the step in one line, with the time that it has taken."""
        self.context.report.step(self.verb, message, time.monotonic() - self._start)


def fingerprint(*inputs: object) -> str:
    """Return a hash of the settings and ids that a step depends on."""
    joined = "\x1f".join(str(part) for part in inputs)
    return hashlib.blake2b(joined.encode(), digest_size=12).hexdigest()


def remove_rows(context: Context, name: str, verb: str, *tables: str) -> None:
    """Remove what a step has written that the recipe no longer asks for; paid replies stay."""
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
