"""Exchanges: the rows of datasets, which are question and answer already, in bulk.

A million of them are written and judged as Arrow and SQL, never as Python values. Each stands
once, in the table `exchanges`; the views `passages`, `questions` and `pairs` show it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import TYPE_CHECKING

from memoirist.data.schema.errors import SourceUnreadable
from memoirist.data.schema.records import RowReader, Rows, Source
from memoirist.data.store.transaction import Transaction, statement

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
# The fault of plain rows in which something is doubtful - broken, empty, with a placeholder, about
# a picture, with what may be personal data. Their JSON is the reason; each is read again by itself.
DOUBTFUL = "doubtful"
_PARTS = ("question", "context", "answer", "system", "label")
# A text that is a JSON value by its looks may have been one: numbers are texts of rows as well,
# lists and objects are not.
_KINDS = """CASE WHEN is_json(question) OR is_json(context) OR is_json(answer) OR is_json(system)
    THEN len(list_filter(json_type(line, $paths), lambda kind: kind NOT IN ('VARCHAR', 'NULL'))) > 0
    ELSE false END"""
# The last rows of the parts in which the doubtful rows are read again: as many at a time as fit any
# memory, of long texts fewer.
_DOUBTFUL_PARTS = f"""
    SELECT max(source_row) FROM (
        SELECT source_row, sum(strlen(reason)) OVER rows // 32_000_000 AS part,
               row_number() OVER rows // 20_000 AS many
        FROM exchanges WHERE source_id = ? AND fault = '{DOUBTFUL}'
        WINDOW rows AS (ORDER BY source_row)
    ) GROUP BY part, many ORDER BY 1"""
_DOUBTFUL = (
    "SELECT source_row, reason FROM exchanges WHERE source_id = ? AND source_row > ?"
    f" AND source_row <= ? AND fault = '{DOUBTFUL}' ORDER BY source_row"
)
_ANY_GOOD = "SELECT 1 FROM exchanges WHERE source_id = ? AND fault IS NULL LIMIT 1"
_FIRST_FAULT = (
    "SELECT arg_min(reason, score) FROM verdicts WHERE source_id = ? AND subject = 'rows'"
    " AND step = 'extract' AND NOT keep HAVING count(*) > 0"
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


@dataclass(frozen=True, slots=True)
class Masking:
    """How personal data is masked: `mask` does it, `candidate` (RE2) matches where it may be."""

    mask: Callable[[str], tuple[str, Mapping[str, int]]]
    candidate: str


def take(
    tx: Transaction, source: Source, rows: Rows, masking: Masking | None, now: datetime
) -> None:
    """Write the exchanges of a dataset's rows, the ones before forgotten, with their verdicts.

    Ids hang on the content alone: a changed row changes only itself. Raises what the reading
    raises, and SourceUnreadable where every row was refused; then nothing may be committed. What
    is refused is swept up in a transaction of its own: to delete from what is not yet committed
    would have DuckDB write all of it again.
    """
    (document,) = rows.documents
    values = {"source": source.id, "document": document.id, "now": now}
    reader = rows.exchanges
    if reader is not None and reader.parts:
        _insert_plain(tx, reader, masking, values)
        last = 0
        for (end,) in tx.fetch(_DOUBTFUL_PARTS, [source.id]):
            _insert(
                tx, [reader.reread(tx.fetch(_DOUBTFUL, [source.id, last, end]))], masking, values
            )
            last = end
    elif reader is not None:
        _insert(tx, reader.batches(), masking, values)
    tx.run("exchanges_verdicts", values)
    for rule, reason in _NOTES.items():
        tx.execute(
            "UPDATE verdicts SET reason = ? WHERE source_id = ? AND rule = ? AND reason = ''",
            [reason, source.id, rule],
        )
    if not tx.fetch(_ANY_GOOD, [source.id]):
        why = tx.fetch(_FIRST_FAULT, [source.id])
        raise SourceUnreadable(
            f"no row of {source.location!r} can be used: {why[0][0] if why else 'it has no rows'}",
            "mend the rows, or say which column is what: --map question=COLUMN",
        )
    tx.run("exchanges_keep_held", values)


def sweep(tx: Transaction, source_id: str) -> Taken:
    """Take away the refused rows and the second ones of twins; return what became of all."""
    tx.run("exchanges_sweep", {"source": source_id})
    return _taken(tx, source_id)


def _insert(
    tx: Transaction,
    batches: Iterable[pa.RecordBatch],
    masking: Masking | None,
    values: Mapping[str, object],
) -> None:
    """Insert exchanges that are read already."""
    from memoirist.data.store.arrow_masking import masked

    if masking is not None:
        batches = masked(batches, masking.mask, masking.candidate)
    sql = statement("exchanges_insert").replace("{incoming}", "FROM incoming")
    tx.insert_arrow(batches, arrow_schema(), sql, values)


def _insert_plain(
    tx: Transaction, reader: RowReader, masking: Masking | None, values: Mapping[str, object]
) -> None:
    """Let DuckDB find the exchanges in plain rows; what is doubtful has the fault DOUBTFUL."""
    from memoirist.data.store.arrow_masking import marked

    candidate = masking.candidate if masking else None
    batches = marked(reader.batches(), looking=masking is not None)
    first = next(batches)
    as_lines = "line" in first.schema.names
    query, chosen = _plain_rows_query(reader.parts, candidate, as_lines=as_lines)
    sql = statement("exchanges_insert").replace("{incoming}", query)
    tx.insert_arrow(chain([first], batches), first.schema, sql, {**values, **chosen})


def _plain_rows_query(
    parts: Mapping[str, str], candidate: str | None, *, as_lines: bool
) -> tuple[str, dict[str, object]]:
    """Return the query that makes exchanges of the rows in `incoming`, and its parameters.

    `parts` are the columns by part, of _PARTS; `candidate` is the regular expression (RE2) that a
    text with personal data matches, None where nobody wants it masked. The rows in `incoming` have
    the columns source_row, `near` (arrow_masking.py) and `line`, or else one for each part.
    """
    known = [part for part in _PARTS if part in parts]
    values: dict[str, object] = {"candidate": candidate or "", "asked": "question" in parts}
    if as_lines:
        values["paths"] = [_pointer(parts[part]) for part in known]
        places = {part: f"texts[{place}]" for place, part in enumerate(known, start=1)}
        rows = "(SELECT *, TRY(json_extract_string(line, $paths)) AS texts FROM incoming)"
        told = {"kept": "line", "line": "line", "kinds": _KINDS, "rows": rows}
    else:
        values |= {f"name_{part}": parts[part] for part in known}
        places = {part: part for part in known}
        line = f"json_object({', '.join(f'$name_{part}, {part}' for part in known)})"
        told = {"kept": "0 AS line", "line": line, "kinds": "false", "rows": "incoming"}
    texts = [f"{places.get(part, 'NULL::VARCHAR')} AS {part}" for part in _PARTS]
    query = statement("plain_rows")
    for mark, text in {**told, "texts": ", ".join(texts)}.items():
        query = query.replace(f"{{{mark}}}", text)
    return query, values


def _pointer(name: str) -> str:
    """Return the JSON pointer (RFC 6901) to a key of an object."""
    return "/" + name.replace("~", "~0").replace("/", "~1")


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
