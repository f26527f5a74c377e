"""Batches on their way into the store: what may hold personal data is found, and masked."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from memoirist.data.store.exchanges import SCHEMA, marked, masked
from memoirist.data.text import personal_data

SAID = [
    "We were 12",
    "212 555 0187 is the number.",
    "Call 212 555",
    "0187 of them",
    "a@b.org",
    "In 1862, 1863 and 1864 we had 12 000 men.",
    "账号：1234 5678",
    "Mail: é@example.org?",
    "212\n555\n0187, in lines",
    "My account number is 99 12 34 56.",
    "Nothing\\@ 1\\2\\3",
    "",
]
PERSONAL = {1, 4, 6, 7, 8, 9}


def near(texts: pa.Array) -> set[int]:
    batch = pa.RecordBatch.from_pydict({"line": texts})
    (found,) = marked([batch], looking=True)
    told = pc.match_substring_regex(found.column("near"), personal_data.candidate("en"))
    return set(pc.indices_nonzero(told).to_pylist())


@pytest.mark.parametrize("start", [0, 1])
def test_texts_that_may_hold_personal_data_are_found(start: int) -> None:
    found = near(pa.array(SAID).slice(start))
    assert {at + start for at in found} >= PERSONAL
    assert {0, 2, 3, 11}.isdisjoint({at + start for at in found})
    assert near(pa.array([None, "", "So."])) == set()


@pytest.mark.parametrize("escaping", [True, False])
def test_lines_of_json_are_looked_at_as_they_are(escaping: bool) -> None:
    lines = [
        json.dumps({"id": f"flan.{at}000123", "answer": said}, ensure_ascii=escaping)
        for at, said in enumerate(SAID)
    ]
    assert near(pa.array(lines)) >= PERSONAL
    assert 5 not in near(pa.array(lines))
    assert near(pa.array([r'{"a": "\u0061\u0040b.org"}', '{"a": "b"}'])) == {0}


@pytest.mark.parametrize("text", ["@" * 400_000, "a@b " * 100_000, "\\u4e00" * 70_000])
def test_what_stands_around_signs_close_together_is_taken_once(text: str) -> None:
    batch = pa.RecordBatch.from_pydict({"line": [text, "So.", f"{text} 1"]})
    (found,) = marked([batch], looking=True)
    sizes = [len(each) for each in found.column("near").to_pylist()]
    assert sizes[1] <= 2
    assert 0 < max(sizes) <= len(text) + 100


def test_a_backslash_behind_one_piece_leaves_the_next_one_whole() -> None:
    texts = ["212 555 0187xy\\ and so on", "account 12 34 56 78", "a@b.\\", "4111 1111 1111 1111"]
    (found,) = marked([pa.RecordBatch.from_pydict({"line": texts})], looking=True)
    pieces = [each.split("\n")[0] for each in found.column("near").to_pylist()]
    assert [pieces[1], pieces[3]] == [texts[1], texts[3]]


def test_too_many_signs_have_their_texts_looked_at_wholly() -> None:
    texts = ["7" * 5_000_000, "So."]
    (found,) = marked([pa.RecordBatch.from_pydict({"line": texts})], looking=True)
    assert len(found.column("near")[0].as_py()) < 10
    assert 0 in near(pa.array(texts))


def test_whoever_wants_no_mask_has_nothing_marked() -> None:
    (found,) = marked([pa.RecordBatch.from_pydict({"line": pa.array(SAID)})], looking=False)
    assert not any(found.column("near").to_pylist())


def test_digits_of_two_texts_are_no_number_of_either() -> None:
    told = SAID[:5]
    rows = [{"source_row": n, "question": "Why?", "answer": a} for n, a in enumerate(told)]
    batch = pa.RecordBatch.from_pylist(rows, schema=SCHEMA)
    (found,) = masked(
        [batch], lambda text: personal_data.mask(text, "en"), personal_data.candidate("en")
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
