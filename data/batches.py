"""Batches on their way into the store: what may hold personal data is found, and masked.

Python values are made only of the few texts that need one; all else is work on the letters' bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Masker = Callable[[str], tuple[str, Mapping[str, int]]]
# A number that is anybody's has six digits at least, with four marks at most between two of them,
# as phonenumbers has it, too; in JSON a line break between them is two bytes.
_LEAST_DIGITS = 6
_REACH_BYTES = 8
# What names an account stands so near before its number (data/personal.py), in bytes of UTF-8.
_BEFORE_BYTES = 80
_AFTER_BYTES = 2


def marked(batches: Iterable[pa.RecordBatch], candidate: str | None) -> Iterator[pa.RecordBatch]:
    """Yield the batches with a column `near`: which rows may hold what matches `candidate`.

    Told from the bytes around an @ or around digits near each other, in any text of the row.
    """
    for batch in batches:
        near = np.zeros(batch.num_rows, bool)
        if candidate:
            for name in batch.schema.names:
                if pa.types.is_string(batch.schema.field(name).type):
                    near[_near(batch.column(name), candidate)] = True
        yield batch.append_column("near", pa.array(near))


def _near(texts: Any, candidate: str) -> Any:  # noqa: ANN401 - an Arrow array in, one of NumPy out
    """Return the places of the texts in which `candidate` may match.

    Lines of JSON may be looked at as they are: what is escaped in them is taken for a space, and a
    line with a letter as its number is always among them.
    """
    offsets, letters = letters_of(texts)
    starts, ends = _runs(offsets, letters)
    escaped = np.zeros(0, np.int64)
    if b"\\u" in letters.tobytes():
        marks = np.flatnonzero(letters[:-1] == ord("\\"))
        escaped = marks[letters[marks + 1] == ord("u")]
    owners = np.searchsorted(offsets, starts, side="right") - 1
    if starts.size:
        first = np.maximum(starts - _BEFORE_BYTES, offsets[owners])
        last = np.minimum(ends + _AFTER_BYTES, offsets[owners + 1])
        windows = _windows(letters, first, last)
        owners = owners[np.asarray(pc.match_substring_regex(windows, candidate))]
    return np.union1d(owners, np.searchsorted(offsets, escaped, side="right") - 1)


def _runs(offsets: Any, letters: Any) -> tuple[Any, Any]:  # noqa: ANN401 - NumPy's arrays
    """Return where each run of digits enough near each other begins and ends, and each @."""
    digits = np.flatnonzero((letters - np.uint8(ord("0"))) < 10)
    # A run begins where the digit before is farther off, or in another text.
    owners = np.searchsorted(offsets, digits, side="right")
    apart = np.diff(digits, prepend=-_REACH_BYTES - 1) > _REACH_BYTES
    first = np.flatnonzero(apart | (np.diff(owners, prepend=0) > 0))
    after = np.append(first[1:], digits.size)
    long = after - first >= _LEAST_DIGITS
    marks = np.flatnonzero(letters == ord("@"))
    starts = np.concatenate([digits[first[long]], marks])
    return starts, np.concatenate([digits[after[long] - 1], marks]) + 1


def _windows(letters: Any, starts: Any, ends: Any) -> pa.StringArray:  # noqa: ANN401 - NumPy's
    sizes = ends - starts
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    found = letters[np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], sizes)]
    marks = np.flatnonzero(found[:-1] == ord("\\"))
    found[marks] = found[marks + 1] = ord(" ")
    buffers = pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(found)
    return pa.StringArray.from_buffers(len(starts), *buffers)


def letters_of(texts: Any) -> tuple[Any, Any]:  # noqa: ANN401 - NumPy's arrays carry no type here
    """Return where each text begins and the last ends, and the bytes of all of them."""
    _, offsets, letters = texts.buffers()
    if letters is None:
        return np.zeros(len(texts) + 1, np.int32), np.zeros(0, np.uint8)
    ends = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    return ends - ends[0], np.frombuffer(letters, np.uint8)[ends[0] : ends[-1]]


def masked(
    batches: Iterable[pa.RecordBatch], mask: Masker, candidate: str
) -> Iterator[pa.RecordBatch]:
    """Yield the batches with `mask` applied to what may hold personal data.

    `mask` returns the text and how often it replaced what. Python sees only texts that the regular
    expression `candidate` (RE2) may match.
    """
    for batch in batches:
        columns = {name: batch.column(name) for name in batch.schema.names}
        for name in ("system", "question", "answer"):
            changed: dict[int, tuple[str, str]] = {}
            for at in _near(columns[name], candidate).tolist():
                text, counts = mask(columns[name][at].as_py())
                if counts:
                    told = (f"masked_{k.replace('-', '')}:{n}" for k, n in counts.items())
                    changed[at] = text, " ".join(told)
            if changed:
                _replace(columns, name, changed)
        yield pa.RecordBatch.from_pydict(columns, schema=batch.schema)


def _replace(columns: dict[str, Any], name: str, changed: dict[int, tuple[str, str]]) -> None:
    texts, notes = columns[name].to_pylist(), columns["notes"].to_pylist()
    for at, (text, marks) in changed.items():
        texts[at] = text
        notes[at] = f"{notes[at]} {marks}" if notes[at] else marks
    columns |= {name: pa.array(texts, pa.string()), "notes": pa.array(notes, pa.string())}
