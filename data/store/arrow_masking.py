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
# Where there is more to look at than this, each text is looked at wholly: numbers take memory.
_MOST_BYTES = 4 << 20
# What every candidate (data/personal.py) matches.
_LOOK = "a@b"


def marked(batches: Iterable[pa.RecordBatch], *, looking: bool) -> Iterator[pa.RecordBatch]:
    """Yield the batches with a column `near`: all of a row that may hold personal data.

    This is what stands around an @ or around digits near each other; nothing where nobody is
    `looking`.
    """
    for batch in batches:
        texts = [c for c in batch.columns if pa.types.is_string(c.type)] if looking else []
        found = [pc.fill_null(_around(each), "") for each in texts]
        near = pc.binary_join_element_wise(*found, "\n") if found else [""] * batch.num_rows
        yield batch.append_column("near", pa.array(near, pa.string()))


def _around(texts: Any) -> pa.StringArray:  # noqa: ANN401 - an Arrow array
    """Return what stands around digits and @ in each text, an empty one where there is none.

    Lines of JSON may be looked at as they are: what is escaped in them is taken for a space. A text
    with a letter that is written as its number, and all of too many, are to be looked at wholly.
    """
    offsets, letters = letters_of(texts)
    told = (letters - np.uint8(ord("0"))) < 10
    told |= letters == ord("@")
    told |= letters == ord("\\")
    if np.count_nonzero(told) > _MOST_BYTES:
        return pa.array([_LOOK] * len(texts), pa.string())
    places = np.flatnonzero(told)
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
            found = pc.match_substring_regex(_around(columns[name]), candidate)
            for at in pc.indices_nonzero(found).to_pylist():
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
