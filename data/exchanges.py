"""Exchanges: the rows of datasets, which are question and answer already, in bulk.

A million of them are written and judged as Arrow and SQL, never as Python values. Each stands
once, in the table `exchanges`; the views `passages`, `questions` and `pairs` show it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from data.nouns import ExchangeBatches, Source
from data.store import Transaction, statement

if TYPE_CHECKING:
    import pyarrow as pa

# What a reader of datasets hands over: one row an exchange, or one row with a `fault` (the rule)
# and its `reason` for what had to be refused. `thread` names the conversation that the exchanges
# of a row form, by its content; it is empty where a row is one exchange. `notes` are flags, such as
# "joined_turns:1 masked_phone:2".
COLUMNS = (
    ("source_row", "int64"),
    ("ord", "int32"),
    ("thread", "string"),
    ("system", "string"),
    ("question", "string"),
    ("answer", "string"),
    ("fault", "string"),
    ("reason", "string"),
    ("notes", "string"),
)
# What each flag tells the reader of `look coverage`.
_NOTES = {
    "joined_turns": "turns of one side in a row were joined",
    "unanswered": "the row ends with a turn that nobody answers; it is left out",
    "untrained": "answers that the dataset gives no weight are left out",
    "tool_turns": "calls of tools and their results are kept as text",
    "flag_control": "chat control tokens, made harmless in every prompt",
    "flag_invisible": "zero-width or bidirectional characters, taken out of every prompt",
    "masked_email": "mail addresses were replaced by [e-mail]",
    "masked_phone": "phone numbers were replaced by [phone]",
    "masked_card": "card numbers were replaced by [card]",
    "masked_account": "account numbers were replaced by [account]",
}


def arrow_schema() -> pa.Schema:
    """Return the Arrow schema of `COLUMNS`."""
    import pyarrow as pa

    return pa.schema([(name, pa.type_for_alias(kind)) for name, kind in COLUMNS])


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What became of a source's rows; `faults` is (rule, count, first reason), most first."""

    rows: int
    exchanges: int
    faults: tuple[tuple[str, int, str], ...]

    @property
    def refused(self) -> int:
        """Return the number of refused rows."""
        return sum(n for _, n, _ in self.faults)


def take(
    tx: Transaction, source: Source, document_id: str, batches: ExchangeBatches, now: datetime
) -> Taken:
    """Write a source's exchanges, the ones before forgotten, with the verdicts on its rows.

    Ids hang on the content alone: a changed row changes only itself. Raises what the reading of
    `batches` raises; then nothing may be committed.
    """
    import pyarrow as pa

    from data.batches import Ahead, keyed

    stream = Ahead(keyed(batches, source.id))
    schema = arrow_schema().append(pa.field("id", pa.string()))
    schema = schema.append(pa.field("n_words", pa.int32()))
    reader = pa.RecordBatchReader.from_batches(schema, iter(stream))
    values = {"source": source.id, "document": document_id, "now": now}
    tx.insert_arrow(reader, statement("exchanges_insert"), values)
    if stream.error is not None:
        raise stream.error
    tx.run("exchanges_twins", {"source": source.id, "now": now})
    tx.run("exchanges_verdicts", {"source": source.id, "now": now})
    for rule, reason in _NOTES.items():
        tx.execute(
            "UPDATE verdicts SET reason = ? WHERE source_id = ? AND rule = ? AND reason = ''",
            [reason, source.id, rule],
        )
    tx.execute("DELETE FROM exchanges WHERE source_id = ? AND fault IS NOT NULL", [source.id])
    tx.run("exchanges_keep_held", {"source": source.id})
    return _taken(tx, source.id)


def _taken(tx: Transaction, source_id: str) -> Taken:
    (rows, exchanges) = tx.fetch(
        "SELECT count(DISTINCT source_row), count(*) FROM exchanges WHERE source_id = ?",
        [source_id],
    )[0]
    faults = tx.fetch(
        "SELECT rule, count(*), arg_min(reason, score) FROM verdicts WHERE source_id = ?"
        " AND subject = 'rows' AND step = 'extract' AND NOT keep GROUP BY rule ORDER BY 2 DESC, 1",
        [source_id],
    )
    refused = sum(n for _, n, _ in faults)
    return Taken(rows=rows + refused, exchanges=exchanges, faults=tuple(faults))


def forget(tx: Transaction, source_id: str) -> None:
    """Take a source's exchanges away; what a dataset version holds becomes a pair of its own."""
    tx.run("exchanges_forget", {"source": source_id})


def judge(tx: Transaction, now: datetime) -> None:
    """Let the exchanges be pairs, and drop the ones whose words another has before.

    Compared are the normalised words of question and answer, of whole conversations where a row
    holds several exchanges; the pairs of the persona's own texts win over any of them.
    """
    tx.run("exchanges_judge", {"now": now})
