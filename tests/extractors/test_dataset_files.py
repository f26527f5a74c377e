"""Files of rows as they come: commas too many, values in a row, wide encodings, lists as text."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memoirist.data.schema.errors import SourceUnreadable
from tests.extractors.test_dataset_rows import exchanges, faults, taken

PAIRS = [(f"How did year {n} go?", f'I "swept" the floor, [twice] {{a}} day, {n}.') for n in "1234"]
ROWS: list[dict[str, list[dict[str, str]]]] = [
    {"conversations": [{"from": "human", "value": q}, {"from": "gpt", "value": a}]}
    for q, a in PAIRS
]
LINES = [json.dumps(row) for row in ROWS]
PRETTY = [json.dumps(row, indent=2) for row in ROWS]


def put(tmp_path: Path, name: str, content: str | bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def pairs(path: Path) -> list[object]:
    return [each[3:] for each in exchanges(path)]


def with_commas(text: str) -> str:
    """Return pretty-printed JSON with a comma before each closing bracket."""
    return text.replace("\n    ]", ",\n    ]").replace('"\n', '",\n').replace("]\n}", "],\n}")


PLAIN = {
    "trailing comma": "[\n" + ",\n".join(LINES) + ",\n]\n",
    "trailing comma in one line": f"[{', '.join(LINES)},]",
    "trailing commas everywhere": "[" + ",\n".join(map(with_commas, PRETTY)) + ",]",
    "pretty in a row": "\n".join(PRETTY),
    "pretty in a row, with commas": ",\n".join(PRETTY),
    "pretty, no space between": "".join(PRETTY),
    "lines without line ends": "".join(LINES),
    "lines with commas": ",\n".join(LINES) + ",\n",
    "lists in a row": f"[{LINES[0]},\n{LINES[1]}]\n[{LINES[2]},\n{LINES[3]}]\n",
    "no end of the list": "[\n" + ",\n".join(LINES) + "\n",
    "windows line ends": "\ufeff" + "\r\n".join(PRETTY),
    "a split with a trailing comma": '{"train": [\n' + ",\n".join(LINES) + ",\n],}",
    "python's repr": "\n".join(map(repr, ROWS)),
    "a python list": repr(ROWS),
}


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl", "rows.ndjson"])
@pytest.mark.parametrize("kind", PLAIN)
def test_json_whose_meaning_is_plain_is_read(tmp_path: Path, kind: str, name: str) -> None:
    assert pairs(put(tmp_path, name, PLAIN[kind])) == PAIRS


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl"])
def test_a_broken_value_among_others_is_one_row(tmp_path: Path, name: str) -> None:
    broken = PRETTY[1].replace('"value": "I', '"value" "I')
    path = put(tmp_path, name, "\n".join([PRETTY[0], broken, *PRETTY[2:]]))
    assert pairs(path) == [PAIRS[0], *PAIRS[2:]]
    ((row, rule, why),) = faults(path)
    assert (row, rule) == (2, "row_broken")
    assert why == "it is not JSON (Expecting ':' delimiter: line 21 column 15)"
    cut = put(tmp_path, name, "[\n" + ",\n".join([*PRETTY[:3], PRETTY[3][:60]]))
    assert pairs(cut) == PAIRS[:3]
    assert [f[:2] for f in faults(cut)] == [(4, "row_broken")]


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl"])
def test_a_byte_that_is_not_utf8_is_a_fault_of_its_row(tmp_path: Path, name: str) -> None:
    broken = PRETTY[1].encode().replace(b"How did", b"How d\xefd")
    parts = [PRETTY[0].encode(), broken, *(row.encode() for row in PRETTY[2:])]
    path = put(tmp_path, name, b"[" + b",\n".join(parts) + b"]")
    assert pairs(path) == [PAIRS[0], *PAIRS[2:]]
    assert faults(path) == [(2, "row_broken", "message 1 contains bytes that are not UTF-8")]


def test_what_cannot_be_told_apart_is_refused_with_its_place(tmp_path: Path) -> None:
    text = f"[{', '.join(LINES)}]".replace('"value": "I', '"value" "I', 1)
    with pytest.raises(SourceUnreadable) as refused:
        taken(put(tmp_path, "rows.json", text))
    column = text.index('"value" "I') + len('"value" ') + 1
    why = f"it is not JSON (Expecting ':' delimiter: line 1 column {column})"
    assert why in refused.value.what
    assert refused.value.next_step == "correct it there, or write one JSON object per line"


@pytest.mark.parametrize("content", ["{broken", "[1", "nothing of the kind", "{", "[}", "\x00" * 9])
@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl", "rows.csv"])
def test_no_refusal_names_map_where_there_is_no_column(
    tmp_path: Path, name: str, content: str
) -> None:
    with pytest.raises(SourceUnreadable) as refused:
        taken(put(tmp_path, name, content))
    assert "--map" not in str(refused.value) or name == "rows.csv"


WIDE = ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]


@pytest.mark.parametrize("encoding", WIDE)
@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "rows.csv"])
def test_wide_encodings_are_read(tmp_path: Path, name: str, encoding: str) -> None:
    asked = [("Wie war es?", "Früh, 水車 😀."), ("Und dann?", "Weiß nicht.")]
    rows = [dict(zip(("question", "answer"), pair, strict=True)) for pair in asked]
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n"
    if name == "rows.json":
        text = json.dumps(rows, ensure_ascii=False, indent=1)
    elif name == "rows.csv":
        text = 'question,answer\r\n"Wie war es?","Früh, 水車 😀."\r\nUnd dann?,Weiß nicht.\r\n'
    assert pairs(put(tmp_path, name, text.encode(encoding))) == asked


def test_a_broken_character_of_a_wide_file_is_one_bad_row(tmp_path: Path) -> None:
    rows = [json.dumps({"question": f"Why {n}?", "answer": "So."}) for n in range(3)]
    wide = "\n".join(rows).encode("utf-16-le").replace("1".encode("utf-16-le"), b"\x00\xd8")
    path = put(tmp_path, "rows.jsonl", b"\xff\xfe" + wide)
    assert pairs(path) == [("Why 0?", "So."), ("Why 2?", "So.")]
    assert faults(path) == [(2, "row_broken", "it contains bytes that are not UTF-8")]


def numpy_repr(row: list[dict[str, str]]) -> str:
    return "[" + "\n ".join(map(repr, row)) + "]"


def array_repr(row: list[dict[str, str]]) -> str:
    return f"array({row!r}, dtype=object)"


@pytest.mark.parametrize("as_text", [repr, json.dumps, numpy_repr, array_repr])
def test_lists_in_a_column_of_text_are_read(
    tmp_path: Path, as_text: Callable[[list[dict[str, str]]], str]
) -> None:
    texts = [as_text(row["conversations"]) for row in ROWS]
    table = io.StringIO()
    csv.writer(table).writerows([["id", "conversations"], *enumerate(texts)])
    assert pairs(put(tmp_path, "rows.csv", table.getvalue())) == PAIRS
    pq.write_table(pa.table({"conversations": texts}), tmp_path / "rows.parquet")
    assert pairs(tmp_path / "rows.parquet") == PAIRS
    lines = "\n".join(json.dumps({"talk": text}) for text in texts)
    path = put(tmp_path, "rows.jsonl", lines)
    assert [each[3:] for each in exchanges(path, columns={"messages": "talk"})] == PAIRS


def test_a_list_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    good, bad = (repr(row["conversations"]) for row in ROWS[:2])
    rows = [{"conversations": good}, {"conversations": bad[:-9]}]
    path = put(tmp_path, "rows.jsonl", "\n".join(map(json.dumps, rows)))
    assert pairs(path) == PAIRS[:1]
    ((row, rule, why),) = faults(path)
    assert (row, rule) == (2, "row_broken")
    assert why.startswith("its 'conversations' is neither JSON nor a Python list (")
    path = put(tmp_path, "rows.jsonl", json.dumps(rows[1]))
    with pytest.raises(SourceUnreadable, match=r"neither JSON nor.*write that column as JSON"):
        taken(path)
