"""Batches on their way into the store: made ahead, keyed, counted and masked."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest

from data import personal
from data.batches import Ahead, keyed, masked
from data.exchanges import arrow_schema


def batch(*answers: str | None, **extra: object) -> pa.RecordBatch:
    rows = [
        {"source_row": n, "ord": 0, "question": "Why?", "answer": answer, **extra}
        for n, answer in enumerate(answers, start=1)
    ]
    return pa.RecordBatch.from_pylist(rows, schema=arrow_schema())


def keyed_rows(*answers: str | None, **extra: object) -> list[dict[str, object]]:
    (found,) = keyed([batch(*answers, **extra)], "s")
    return found.to_pylist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("start", [0, 1])
def test_words_are_runs_without_white_space(start: int) -> None:
    told = ["", "one", "  two  words\n", "so\n\nthree words", None, "naïve façade", "水車 turns"]
    (found,) = keyed([batch(*told).slice(start)], "s")
    assert found.column("n_words").to_pylist() == [0, 1, 2, 3, None, 2, None][start:]


def test_an_id_hangs_on_what_is_said() -> None:
    first, again, other = keyed_rows("So.", "So.", "No.")
    assert first["id"] == again["id"] != other["id"]
    assert len(str(first["id"])) == 16
    assert keyed_rows("So.", system="Be kind.")[0]["id"] != first["id"]
    assert keyed_rows("So.", thread="t")[0]["id"] == keyed_rows("No.", thread="t")[0]["id"]
    assert len({row["id"] for row in keyed_rows(None, None, fault="row_empty")}) == 2


def test_digits_of_two_texts_are_no_number_of_either() -> None:
    told = ["We were 12", "212 555 0187 is the number.", "Call 212 555", "0187 of them", "a@b.org"]
    (found,) = masked(
        [batch(*told)], lambda text: personal.mask(text, "en"), personal.candidate("en")
    )
    assert found.column("answer").to_pylist() == [
        told[0], "[phone] is the number.", told[2], told[3], "[e-mail]"
    ]  # fmt: skip
    assert found.column("notes").to_pylist() == [
        None,
        "masked_phone:1",
        None,
        None,
        "masked_email:1",
    ]


def test_batches_are_made_ahead_and_an_error_is_kept() -> None:
    def failing() -> Iterator[pa.RecordBatch]:
        yield batch("So.")
        raise ValueError("no more")

    ahead = Ahead(failing())
    assert [each.num_rows for each in ahead] == [1]
    assert str(ahead.error) == "no more"


def test_who_stops_early_leaves_no_thread_behind() -> None:
    closed: list[bool] = []

    def endless() -> Iterator[pa.RecordBatch]:
        try:
            while True:
                yield batch("So.")
        finally:
            closed.append(True)

    ahead = Ahead(endless(), most=2)
    taken = iter(ahead)
    next(taken)
    taken.close()  # type: ignore[attr-defined]
    del ahead, taken
    assert closed == [True]
