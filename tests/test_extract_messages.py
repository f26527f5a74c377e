"""JSON lines in the messages schema: good rows become conversations, bad ones verdicts."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from data.errors import SourceUnreadable
from data.nouns import Rows
from extractors import ExtractSettings, Found, extract, read_source

NOW = datetime(2026, 11, 21, tzinfo=UTC)
GOOD = {
    "messages": [
        {"role": "system", "content": "You are Edith."},
        {"role": "user", "content": "What did you weigh?"},
        {"role": "assistant", "content": "Sugar."},
    ]
}


def rows_in(tmp_path: Path, *lines: object, name: str = "chat.jsonl") -> Rows:
    path = tmp_path / name
    path.write_text(
        "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines), "utf-8"
    )
    return extract(read_source(Found(path=path, format="messages"), NOW), ExtractSettings())


def chat(*messages: tuple[str, object]) -> dict[str, object]:
    return {"messages": [{"role": role, "content": content} for role, content in messages]}


def test_each_row_is_a_document_of_turns(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "Two"}, {"type": "text", "text": "parts"}]
    rows = rows_in(tmp_path, GOOD, "", chat(("user", parts), ("assistant", "Yes.")))
    assert [document.title for document in rows.documents] == ["row 1", "row 3"]
    assert [(block.kind, block.speaker, block.text) for block in rows.blocks] == [
        ("system", None, "You are Edith."),
        ("turn", "user", "What did you weigh?"),
        ("turn", "assistant", "Sugar."),
        ("turn", "user", "Two\nparts"),
        ("turn", "assistant", "Yes."),
    ]
    assert rows.verdicts == []


@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        ("{not json", "not JSON"),
        ({"text": "hello"}, r'no list "messages" \(its keys: text\)'),
        ([1, 2], 'no list "messages"'),
        (chat(("user", "Hi"), ("robot", "Hi")), "message 2 has the unknown role 'robot'"),
        (chat(("user", "  "), ("assistant", "Hi")), "message 1 has no text content"),
        (chat(("user", "Hi"), ("assistant", None)), "message 2 has no text content"),
        (chat(("user", "Hi")), "no assistant turn"),
        (chat(("user", "Hi"), ("system", "Be"), ("assistant", "Hi")), "system message"),
        ({"messages": ["Hi"]}, "message 1 is no JSON object"),
        ({"messages": []}, "no assistant turn"),
    ],
)
def test_each_fault_is_a_verdict_with_its_line(tmp_path: Path, bad: object, fault: str) -> None:
    rows = rows_in(tmp_path, GOOD, bad, GOOD)
    (verdict,) = rows.verdicts
    assert (verdict.rule, verdict.subject, verdict.keep) == ("bad_row", "documents", False)
    assert verdict.reason.startswith("line 2: ")
    assert verdict.next_step
    assert len(rows.documents) == 2
    with pytest.raises(SourceUnreadable, match=fault):
        rows_in(tmp_path, bad)


def test_ids_follow_the_content_and_not_the_line(tmp_path: Path) -> None:
    other = chat(("user", "And then?"), ("assistant", "Flour."))
    source = read_source(_written(tmp_path, GOOD, other), NOW)
    before = extract(source, ExtractSettings())
    _written(tmp_path, other, "broken", GOOD)
    after = extract(source, ExtractSettings())
    assert {each.id for each in before.documents} == {each.id for each in after.documents}
    assert {each.id for each in before.blocks} == {each.id for each in after.blocks}


def _written(tmp_path: Path, *lines: object) -> Found:
    path = tmp_path / "chat.jsonl"
    path.write_text("\n".join(x if isinstance(x, str) else json.dumps(x) for x in lines))
    return Found(path=path, format="messages")


def test_twins_are_two_documents(tmp_path: Path) -> None:
    rows = rows_in(tmp_path, GOOD, GOOD)
    assert len({document.id for document in rows.documents}) == 2


def test_json_list(tmp_path: Path) -> None:
    rows = rows_in(tmp_path, json.dumps([GOOD, {"text": "x"}], indent=2), name="chat.json")
    assert len(rows.documents) == 1
    assert [verdict.reason[:7] for verdict in rows.verdicts] == ["line 2:"]


def test_bytes_that_are_not_utf8_are_one_bad_row(tmp_path: Path) -> None:
    path = tmp_path / "chat.jsonl"
    latin = (
        json.dumps(chat(("user", "caf@"), ("assistant", "Yes."))).encode().replace(b"@", b"\xe9")
    )
    path.write_bytes(json.dumps(GOOD).encode() + b"\n" + latin)
    rows = extract(read_source(Found(path=path, format="messages"), NOW), ExtractSettings())
    assert len(rows.documents) == 1
    assert "not UTF-8" in rows.verdicts[0].reason


def test_empty_lines_alone_are_unreadable(tmp_path: Path) -> None:
    with pytest.raises(SourceUnreadable, match="it has no rows"):
        rows_in(tmp_path, "", " ", "")
