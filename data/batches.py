"""Exchanges on their way into the store: Arrow batches, looked through a column at a time.

Python values are made only of the few texts that need one; all else is work on the letters' bytes,
during which Python's lock is free, so that a batch is made while DuckDB writes the one before.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

Masker = Callable[[str], tuple[str, "dict[str, int]"]]
_UNIT = "\x1f"
# UTF-8's first bytes of U+3000 to U+DFFF, where Han, kana and Hangul stand.
_HAN_FIRST, _HAN_LAST = 0xE3, 0xED
# A number that is anybody's has six digits at least, with four marks at most between two of them,
# as phonenumbers has it, too.
_LEAST_DIGITS = 6
_REACH_BYTES = 5


class Ahead:
    """Batches that a thread of their own makes, a few ahead of whoever takes them.

    An error of theirs ends the batches and is kept here, as it would lose its kind in DuckDB.
    """

    def __init__(self, batches: Iterable[pa.RecordBatch], most: int = 6) -> None:
        self.error: BaseException | None = None
        self._batches = batches
        self._made: queue.Queue[pa.RecordBatch | None] = queue.Queue(most)
        self._ended = threading.Event()

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        maker = threading.Thread(target=self._make, daemon=True)
        maker.start()
        try:
            while (batch := self._made.get()) is not None:
                yield batch
        finally:
            self._ended.set()
            maker.join()

    def _make(self) -> None:
        try:
            for batch in self._batches:
                if not self._put(batch):
                    return
        except BaseException as error:  # noqa: BLE001 - whoever takes the batches raises it
            self.error = error
        self._put(None)

    def _put(self, batch: pa.RecordBatch | None) -> bool:
        while not self._ended.is_set():
            try:
                self._made.put(batch, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False


def keyed(batches: Iterable[pa.RecordBatch], source_id: str) -> Iterator[pa.RecordBatch]:
    """Yield the batches with two columns more: `id` and `n_words`, the words of the answer.

    An id hangs on the source and on what is said alone, or on the conversation and the place in it,
    or, of a refused row, on its number. Words are runs without white space; where Han, kana or
    Hangul stand, `n_words` is null, as these must be counted otherwise.
    """
    for batch in batches:
        ids = pa.array(_ids(batch, source_id), pa.string())
        counted = pa.array(_words(batch.column("answer")), pa.int32(), from_pandas=True)
        yield batch.append_column("id", ids).append_column("n_words", counted)


def _ids(batch: pa.RecordBatch, source_id: str) -> list[str]:
    said = [_or_empty(batch.column(name)) for name in ("system", "question", "answer")]
    told = pc.binary_join_element_wise(source_id, *said, _UNIT)
    for name, kind, place in (("thread", "thread", "ord"), ("fault", "row", "source_row")):
        column = batch.column(name)
        if column.null_count < len(column):
            key = _or_empty(batch.column("thread")) if name == "thread" else ""
            at = batch.column(place).cast(pa.string())
            other = pc.binary_join_element_wise(source_id, kind, key, at, _UNIT)
            told = pc.if_else(pc.is_valid(column), other, told)
    offsets, letters = letters_of(told)
    view, ends = memoryview(letters), offsets.tolist()
    digest = xxhash.xxh3_64_hexdigest
    return [digest(view[start:end]) for start, end in pairwise(ends)]


def _words(texts: Any) -> Any:  # noqa: ANN401 - an Arrow array in, a masked one of NumPy out
    offsets, letters = letters_of(texts)
    none = np.asarray(pc.is_null(texts))
    black = letters > ord(" ")
    starts = black.copy()
    starts[1:] &= ~black[:-1]
    firsts = offsets[:-1][offsets[:-1] < offsets[1:]]
    starts[firsts] = black[firsts]
    counts = np.diff(np.searchsorted(np.flatnonzero(starts), offsets))
    if letters.size and letters.max() >= _HAN_FIRST:
        han = np.flatnonzero((letters >= _HAN_FIRST) & (letters <= _HAN_LAST))
        none = none | (np.diff(np.searchsorted(han, offsets)) > 0)
    return np.ma.masked_array(counts, none)


def letters_of(texts: Any) -> tuple[Any, Any]:  # noqa: ANN401 - NumPy's arrays carry no type here
    """Return where each text begins and the last ends, and the bytes of all of them."""
    _, offsets, letters = texts.buffers()
    if letters is None:
        return np.zeros(len(texts) + 1, np.int32), np.zeros(0, np.uint8)
    ends = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    return ends - ends[0], np.frombuffer(letters, np.uint8)[ends[0] : ends[-1]]


def _or_empty(texts: Any) -> Any:  # noqa: ANN401 - Arrow arrays
    return pc.fill_null(texts, "") if texts.null_count else texts


def masked(
    batches: Iterable[pa.RecordBatch], mask: Masker, candidate: str
) -> Iterator[pa.RecordBatch]:
    """Yield the batches with `mask` applied to what may hold personal data.

    `mask` returns the text and how often it replaced what. Only texts with an @ or several digits
    near each other are looked at, and of these Python sees the ones that match the regular
    expression `candidate` (RE2).
    """
    for batch in batches:
        columns = {name: batch.column(name) for name in batch.schema.names}
        for name in ("system", "question", "answer"):
            places = _suspects(columns[name])
            if not places.size:
                continue
            near = columns[name].take(pa.array(places))
            found = pc.indices_nonzero(pc.match_substring_regex(near, candidate)).to_pylist()
            changed: dict[int, tuple[str, str]] = {}
            for at in found:
                text, counts = mask(near[at].as_py())
                if counts:
                    told = (f"masked_{k.replace('-', '')}:{n}" for k, n in counts.items())
                    changed[int(places[at])] = text, " ".join(told)
            if changed:
                _replace(columns, name, changed)
        yield pa.RecordBatch.from_pydict(columns, schema=batch.schema)


def _suspects(texts: Any) -> Any:  # noqa: ANN401 - an Arrow array in, one of NumPy out
    """Return the places of the texts with an @ or with digits enough near each other."""
    offsets, letters = letters_of(texts)
    digits = np.flatnonzero((letters - np.uint8(ord("0"))) < 10)
    # A run begins where the digit before is farther off, or in another text.
    owners = np.searchsorted(offsets, digits, side="right")
    apart = np.diff(digits, prepend=-_REACH_BYTES - 1) > _REACH_BYTES
    first = np.flatnonzero(apart | (np.diff(owners, prepend=0) > 0))
    near = digits[first[np.diff(first, append=digits.size) >= _LEAST_DIGITS]]
    marks = np.flatnonzero(letters == ord("@"))
    at = np.searchsorted(offsets, np.concatenate([near, marks]), side="right") - 1
    return np.unique(at)


def _replace(columns: dict[str, Any], name: str, changed: dict[int, tuple[str, str]]) -> None:
    texts, notes = columns[name].to_pylist(), columns["notes"].to_pylist()
    for at, (text, marks) in changed.items():
        texts[at] = text
        notes[at] = f"{notes[at]} {marks}" if notes[at] else marks
    columns |= {name: pa.array(texts, pa.string()), "notes": pa.array(notes, pa.string())}
