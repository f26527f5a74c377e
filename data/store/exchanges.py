"""Write the exchanges of datasets, rows that are question and answer already, in bulk.

Millions of them pass as Arrow and SQL, never as Python values. Each is one row of the table
`exchanges`; the views `passages`, `questions` and `pairs` show it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from memoirist.data.schema.errors import SourceUnreadable
from memoirist.data.schema.records import RowReader, Rows, Source
from memoirist.data.store.transaction import Transaction, statement
from memoirist.data.text.tool_messages import map_json

Masker = Callable[[str], tuple[str, Mapping[str, int]]]
# A number that is anybody's has six digits at least, with four marks at most between two of them,
# as phonenumbers has it, too; in JSON a line break between them is two bytes.
_LEAST_DIGITS = 6
_REACH_BYTES = 8
# What names an account stands so near before its number (text/personal_data.py), in bytes of UTF-8.
_BEFORE_BYTES = 80
_AFTER_BYTES = 2
# Where there is more to look at than this, each text is looked at wholly: numbers take memory.
_MOST_BYTES = 4 << 20
# What every candidate (text/personal_data.py) matches.
_LOOK = "a@b"


def marked(
    batches: Iterable[pa.RecordBatch], *, looking: bool, anywhere: str = ""
) -> Iterator[pa.RecordBatch]:
    """Yield the batches with a column `near`: all of a row that may hold what is masked.

    This is what stands around an @ or around digits near each other, and all of a text that
    `anywhere` (RE2) matches; nothing where nobody is `looking`.
    """
    for batch in batches:
        texts = [c for c in batch.columns if pa.types.is_string(c.type)] if looking else []
        parts = [pc.fill_null(_near(text, anywhere), "") for text in texts]
        near = pc.binary_join_element_wise(*parts, "\n") if parts else [""] * batch.num_rows
        yield batch.append_column("near", pa.array(near, pa.string()))


def _near(texts: Any, anywhere: str) -> pa.StringArray:  # noqa: ANN401 - an Arrow array
    """Return what stands around digits and @ in each text, all of one that `anywhere` matches."""
    near = _around(texts)
    return pc.if_else(_matches(texts, anywhere), texts, near) if anywhere else near


def _matches(texts: Any, pattern: str) -> pa.BooleanArray:  # noqa: ANN401 - an Arrow array
    """Tell of each text whether a pattern (RE2) matches; the empty pattern matches none."""
    if not pattern:
        return pa.array([False] * len(texts), pa.bool_())
    return pc.fill_null(pc.match_substring_regex(texts, pattern), False)


def _around(texts: Any) -> pa.StringArray:  # noqa: ANN401 - an Arrow array
    """Return what stands around digits and @ in each text, an empty one where there is none.

    Lines of JSON may be looked at as they are: what is escaped in them is taken for a space. A text
    with a letter that is written as its number, and all of too many, are to be looked at wholly.
    """
    offsets, letters = letters_of(texts)
    is_mark = (letters - np.uint8(ord("0"))) < 10
    is_mark |= letters == ord("@")
    is_mark |= letters == ord("\\")
    if np.count_nonzero(is_mark) > _MOST_BYTES:
        return pa.array([_LOOK] * len(texts), pa.string())
    places = np.flatnonzero(is_mark)
    starts, ends = _windows(offsets, letters, places)
    if (ends - starts).sum() > _MOST_BYTES:
        return pa.array([_LOOK] * len(texts), pa.string())
    near = _pieces(offsets, letters, starts, ends)
    marks = places[letters[places] == ord("\\")]
    escaped = marks[letters[np.minimum(marks + 1, letters.size - 1)] == ord("u")]
    if not escaped.size:
        return near
    whole = pa.array(np.diff(np.searchsorted(escaped, offsets)) > 0)
    return pc.if_else(whole, _LOOK, near)


def _windows(offsets: Any, letters: Any, places: Any) -> tuple[Any, Any]:  # noqa: ANN401
    """Return where what stands around digits near each other, or an @, begins and ends, in order.

    Ones that overlap are one, and each is of one text.
    """
    kinds = letters[places]
    digits = places[(kinds >= ord("0")) & (kinds <= ord("9"))]
    # A run begins where the digit before is farther off, or in another text.
    owners = np.searchsorted(offsets, digits, side="right")
    apart = np.diff(digits, prepend=-_REACH_BYTES - 1) > _REACH_BYTES
    first = np.flatnonzero(apart | (np.diff(owners, prepend=0) > 0))
    after = np.append(first[1:], digits.size)
    long = after - first >= _LEAST_DIGITS
    ats = places[kinds == ord("@")]
    starts = np.concatenate([digits[first[long]], ats])
    ends = np.concatenate([digits[after[long] - 1], ats]) + 1
    order = np.argsort(starts, kind="stable")
    starts, ends = starts[order], ends[order]
    owners = np.searchsorted(offsets, starts, side="right") - 1
    starts = np.maximum(starts - _BEFORE_BYTES, offsets[owners])
    # The end farthest off so far; of an earlier text it is no farther than this one's beginning.
    ends = np.maximum.accumulate(np.minimum(ends + _AFTER_BYTES, offsets[owners + 1]))
    begins = np.ones(starts.size, bool)
    begins[1:] = (starts[1:] > ends[:-1]) | (owners[1:] > owners[:-1])
    return starts[begins], ends[np.append(begins[1:], np.ones(min(1, starts.size), bool))]


def _pieces(offsets: Any, letters: Any, starts: Any, ends: Any) -> pa.StringArray:  # noqa: ANN401
    """Return each text's pieces from `starts` to `ends`, a line break after each."""
    places = np.concatenate([[0], np.cumsum(ends - starts + 1)])
    wanted = np.arange(places[-1]) + np.repeat(starts - places[:-1], ends - starts + 1)
    found = letters.take(wanted, mode="clip")
    # What stood behind a piece must not count as a mark before the next one.
    found[places[1:] - 1] = ord("\n")
    marks = np.flatnonzero(found == ord("\\"))
    found[marks] = found[np.minimum(marks + 1, len(found) - 1)] = ord(" ")
    found[places[1:] - 1] = ord("\n")
    of_texts = places[np.searchsorted(starts, offsets)]
    buffers = pa.py_buffer(of_texts.astype(np.int32)), pa.py_buffer(found)
    return pa.StringArray.from_buffers(len(offsets) - 1, *buffers)


def letters_of(texts: Any) -> tuple[Any, Any]:  # noqa: ANN401 - NumPy's arrays carry no type here
    """Return where each text begins and the last ends, and the bytes of all of them."""
    _, offsets, letters = texts.buffers()
    if letters is None:
        return np.zeros(len(texts) + 1, np.int32), np.zeros(0, np.uint8)
    ends = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    return ends - ends[0], np.frombuffer(letters, np.uint8)[ends[0] : ends[-1]]


def masked(
    batches: Iterable[pa.RecordBatch], mask: Masker, candidate: str, anywhere: str = ""
) -> Iterator[pa.RecordBatch]:
    """Yield the batches with `mask` applied to what may hold secrets or personal data.

    `mask` returns the text and how often it replaced what. Python sees only texts that one of the
    regular expressions (RE2) may match: `candidate` around digits and @, the other `anywhere`.
    """
    for batch in batches:
        columns = {name: batch.column(name) for name in batch.schema.names}
        whole = columns["tool_turns"]
        for name in ("system", "question", "answer", "tool_turns"):
            changed: dict[int, tuple[str, str]] = {}
            texts = columns[name]
            is_json = name == "tool_turns"
            look = partial(_masked_json, mask=mask) if is_json else mask
            matches = (
                texts.is_valid()
                if is_json
                else pc.or_(_matches(_around(texts), candidate), _matches(texts, anywhere))
            )
            for at in pc.indices_nonzero(matches).to_pylist():
                text, counts = look(texts[at].as_py())
                if counts:
                    # What a conversation that is kept whole says stands twice, and counts once.
                    once = whole[at].is_valid and name in ("question", "answer")
                    marks = () if once else counts.items()
                    notes = (f"masked_{k.replace('-', '')}:{n}" for k, n in marks)
                    changed[at] = text, " ".join(notes)
            if changed:
                _replace(columns, name, changed)
        yield pa.RecordBatch.from_pydict(columns, schema=batch.schema)


def _masked_json(text: str, mask: Masker) -> tuple[str, Mapping[str, int]]:
    """Return a JSON text with its texts masked, in the light of their keys, and the counts."""
    counts: Counter[str] = Counter()

    def masked_value(key: str, value: str) -> str:
        named = f"{key}: {value}"
        found, n = mask(named)
        if not found.startswith(f"{key}: "):
            named, (found, n) = value, mask(value)
        counts.update(n)
        return found.removeprefix(named.removesuffix(value))

    return map_json(text, masked_value), counts


def _replace(columns: dict[str, Any], name: str, changed: dict[int, tuple[str, str]]) -> None:
    texts, notes = columns[name].to_pylist(), columns["notes"].to_pylist()
    for at, (text, marks) in changed.items():
        texts[at] = text
        notes[at] = " ".join(filter(None, (notes[at], marks))) or None
    columns |= {name: pa.array(texts, pa.string()), "notes": pa.array(notes, pa.string())}


# What a reader of datasets hands over: one row an exchange, or one row with a `fault` (the rule)
# and its `reason` for what had to be refused. `thread` names the conversation that the exchanges
# of a row form, by its content; it is empty where a row is one exchange. `notes` are flags, such as
# "joined_turns:1 masked_phone:2". `tool_turns` is the JSON of a conversation that is kept whole,
# whose text `question` and `answer` hold.
SCHEMA = pa.schema(
    [
        ("source_row", pa.int64()),
        ("ord", pa.int32()),
        *((name, pa.string()) for name in "thread system question answer".split()),
        *((name, pa.string()) for name in "fault reason notes tool_turns".split()),
    ]
)
# The fault of plain rows in which something is doubtful - broken, empty, with a placeholder, about
# a picture, with what may be personal data. Their JSON is the reason; each is read again by itself.
DOUBTFUL = "doubtful"
# The flags of rows that are not kept whole.
_LEFT_OUT = ("thoughts", "thought_alone", "tool_turns", "unasked", "unanswered", "untrained")
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
    "SELECT arg_min(reason, score), arg_min(rule, score) FROM verdicts"
    " WHERE source_id = ? AND subject = 'rows' AND step = 'extract' AND NOT keep"
    " HAVING count(*) > 0"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """The counts of a source's rows; `faults` is (rule, count, first reason), most first.

    `left_out` is the same for what was left out of rows that are kept.
    """

    rows: int
    exchanges: int
    faults: tuple[tuple[str, int, str], ...]
    left_out: tuple[tuple[str, int, str], ...] = ()

    @property
    def refused(self) -> int:
        """Return the number of refused rows."""
        return sum(n for _, n, _ in self.faults)


@dataclass(frozen=True, slots=True)
class Masking:
    """How a dataset's texts are masked: `mask` does it, regular expressions (RE2) tell where.

    `candidate` matches personal data and is looked for around digits and @, `anywhere` is looked
    for in all of a text; one that is empty is not looked for.
    """

    mask: Masker
    candidate: str
    anywhere: str = ""


def take(
    tx: Transaction, source: Source, rows: Rows, masking: Masking | None, now: datetime
) -> None:
    """Replace the exchanges of a dataset by its rows, with their verdicts.

    Ids depend on the content alone, so a changed row changes only itself. Raises what the reader
    raises, and SourceUnreadable where every row was refused; then nothing may be committed. `sweep`
    deletes the refused rows in another transaction, because deleting uncommitted rows would make
    DuckDB write all of them again.
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
    if not tx.fetch(_ANY_GOOD, [source.id]):
        why = tx.fetch(_FIRST_FAULT, [source.id])
        reason, rule = why[0] if why else ("it has none", "")
        by_column = rule in ("row_shape", "row_empty")
        raise SourceUnreadable(
            f"no row of {source.location!r} can be used: {reason}",
            f"correct the rows{', or name the columns: --map question=COLUMN' * by_column}",
        )
    tx.run("exchanges_keep_held", values)


def sweep(tx: Transaction, source_id: str) -> Taken:
    """Delete the refused rows and duplicates, and return the counts of all."""
    tx.run("exchanges_sweep", {"source": source_id})
    return _taken(tx, source_id)


def _insert(
    tx: Transaction,
    batches: Iterable[pa.RecordBatch],
    masking: Masking | None,
    values: Mapping[str, object],
) -> None:
    """Insert exchanges that the reader has parsed."""
    if masking is not None:
        batches = masked(batches, masking.mask, masking.candidate, masking.anywhere)
    sql = statement("exchanges_insert").replace("{incoming}", "FROM incoming")
    tx.insert_arrow(batches, SCHEMA, sql, values)


def _insert_plain(
    tx: Transaction, reader: RowReader, masking: Masking | None, values: Mapping[str, object]
) -> None:
    """Insert plain rows by SQL; doubtful ones get the fault DOUBTFUL."""
    candidate = None
    if masking is not None:
        # A text that is to be looked at wholly is one whatever is looked for.
        candidate = "|".join(filter(None, (masking.candidate, masking.anywhere, _LOOK)))
    anywhere = masking.anywhere if masking else ""
    batches = marked(reader.batches(), looking=masking is not None, anywhere=anywhere)
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
    the columns source_row, `near` (see `marked`) and `line`, or else one for each part.
    """
    known = [part for part in _PARTS if part in parts]
    values: dict[str, object] = {"candidate": candidate or "", "asked": "question" in parts}
    if as_lines:
        values["paths"] = [_pointer(parts[part]) for part in known]
        places = {part: f"texts[{place}]" for place, part in enumerate(known, start=1)}
        rows = "(SELECT *, TRY(json_extract_string(line, $paths)) AS texts FROM incoming)"
        marks = {"kept": "line", "line": "line", "kinds": _KINDS, "rows": rows}
    else:
        values |= {f"name_{part}": parts[part] for part in known}
        places = {part: part for part in known}
        line = f"json_object({', '.join(f'$name_{part}, {part}' for part in known)})"
        marks = {"kept": "0 AS line", "line": line, "kinds": "false", "rows": "incoming"}
    texts = [f"{places.get(part, 'NULL::VARCHAR')} AS {part}" for part in _PARTS]
    query = statement("plain_rows")
    for mark, text in {**marks, "texts": ", ".join(texts)}.items():
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
    left_out = tx.fetch(
        "SELECT rule, sum(score)::BIGINT, any_value(reason) FROM verdicts WHERE source_id = ?"
        " AND subject = 'passages' AND step = 'extract' AND list_contains(?, rule)"
        " GROUP BY rule ORDER BY 2 DESC, 1",
        [source_id, list(_LEFT_OUT)],
    )
    refused = sum(n for _, n, _ in faults)
    return Taken(
        rows=rows + refused,
        exchanges=exchanges,
        faults=tuple(faults),
        left_out=tuple(left_out),
    )


def forget(tx: Transaction, source_id: str) -> None:
    """Delete a source's exchanges; those in a dataset version become stored pairs."""
    tx.run("exchanges_forget", {"source": source_id})


def judge(tx: Transaction, now: datetime) -> None:
    """Make the exchanges pairs."""
    tx.run("exchanges_judge", {"now": now})
