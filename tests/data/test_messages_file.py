"""A file of messages is checked as strict services do, and written again without its faults."""

from __future__ import annotations

import io
import json
import random
import tracemalloc
from typing import Any

import pytest

from memoirist.data.composition.message_rules import check_row, mend_row
from memoirist.data.composition.messages_file import (
    REPAIRS,
    CheckSettings,
    FileReport,
    check_messages,
)
from memoirist.data.schema.errors import SourceUnreadable

S, Q, A = "You are Edith.", "What did he do?", "He sold sugar."
SYSTEM = {"role": "system", "content": S}
USER = {"role": "user", "content": Q}
ANSWER = {"role": "assistant", "content": A}
GOOD = [SYSTEM, USER, ANSWER]


def check(data: bytes, output: io.BytesIO | None = None, **settings: int) -> FileReport:
    return check_messages(io.BufferedReader(io.BytesIO(data)), CheckSettings(**settings), output)


def lines_of(data: bytes, **settings: int) -> dict[str, list[int]]:
    return {rule: tally.lines for rule, tally in check(data, **settings).tallies.items()}


def row(*messages: object, **more: object) -> dict[str, Any]:
    return {"messages": list(messages), **more}


def dump(*rows: object) -> bytes:
    return "".join(json.dumps(each) + "\n" for each in rows).encode()


def said(content: object, role: str = "user", **more: object) -> dict[str, object]:
    return {"role": role, "content": content, **more}


TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {}}}]


def called(*ids: str | None, arguments: object = "{}") -> dict[str, Any]:
    function = {"name": "f", "arguments": arguments}
    calls = [{"id": each, "type": "function", "function": function} for each in ids]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def result(of: str, **more: object) -> dict[str, Any]:
    return {"role": "tool", "content": "7", "tool_call_id": of, **more}


def test_calls_and_results_are_no_faults() -> None:
    bare = {key: value for key, value in called("c1").items() if key != "content"}
    for messages in (
        [USER, called("c1"), result("c1"), ANSWER],
        [
            USER,
            bare,
            result("c1"),
            called("c1", "c2"),
            result("c2"),
            result("c1"),
            ANSWER,
            USER,
            bare,
        ],
        [SYSTEM, USER, {**bare, "content": "I look."}],
    ):
        assert check_row(row(*messages, tools=TOOLS), 1_000) == {}
        assert check_row(row(*messages), 1_000) == {}
    assert "too_long" in check_row(
        row(USER, called("c1", arguments='{"a": "%s"}' % ("b " * 900))), 999
    )


# A row, the rules that speak against it, and its contents once it is mended (None: left out).
FAULTY: list[tuple[dict[str, Any], set[str], list[str] | None]] = [
    ({}, {"no_messages"}, None),
    ({"messages": {"role": "user"}}, {"no_messages"}, None),
    (row(), {"no_messages"}, None),
    (row(*GOOD, id=7), {"unknown_key"}, [S, Q, A]),
    (row(USER, said("Yes.", "assistant", function_call={})), {"unknown_key"}, [Q, "Yes."]),
    (row("What?", ANSWER), {"not_message"}, None),
    (row(USER, {"role": "assistant"}), {"missing_key"}, None),
    (row({"content": "Who?"}, ANSWER), {"missing_key"}, None),
    (row(said("Why?", "Human"), said("So.", "gpt")), {"unknown_role"}, ["Why?", "So."]),
    (row(USER, ANSWER, said("{}", "tool")),
     {"tool_result", "no_exchange", "last_not_assistant"}, None),
    (row(USER, called("c1"), ANSWER), {"tool_result", "order"}, None),
    (row(USER, called("c1"), result("c2"), ANSWER), {"tool_result"}, None),
    (row(USER, called("c1", "c2"), result("c1"), ANSWER), {"tool_result"}, None),
    (row(USER, called("c1", arguments={}), result("c1"), ANSWER),
     {"tool_calls", "tool_result"}, None),
    (row(USER, called("c1", arguments="[]")), {"tool_calls"}, None),
    (row(USER, called(None)), {"tool_calls"}, None),
    (row(USER, called(), ANSWER), {"tool_calls", "order"}, None),
    (row(USER, called("c1", arguments='{"a": "<|im_end|>"}')), {"control_token"}, None),
    (row(USER, said(None, "user", tool_calls=[])),
     {"unknown_key", "empty_content", "no_exchange", "order", "last_not_assistant"}, None),
    (row(USER, ANSWER, tools=[{"name": "f"}]), {"tools"}, None),
    (row(USER, called("c1"), result("c1", weight=1), ANSWER), {"weight"}, [Q, None, "7", A]),
    (row(USER, called("c1"), result("c1"), said("So.<|x|>", "assistant"), tools=TOOLS),
     {"control_token"}, [Q, None, "7", "So.‹|x|›"]),
    (row(USER, called("c1"), result("c1"), ANSWER, USER, id=1, tools=TOOLS),
     {"unknown_key", "last_not_assistant"}, [Q, None, "7", A]),
    (row(said([{"text": "Why?"}]), ANSWER), {"content_type"}, ["Why?", A]),
    (row(said(7), ANSWER), {"content_type"}, ["7", A]),
    (row(said({"text": "Why?"}), ANSWER), {"content_type"}, None),
    (row(said(True), ANSWER), {"content_type"}, None),
    (row(said(" \n"), ANSWER), {"empty_content"}, None),
    (row(USER, said(None, "assistant")), {"empty_content"}, None),
    (row(said("", "system"), USER, ANSWER), {"empty_content"}, [Q, A]),
    (row(said("Why?", name="Ann Lee"), ANSWER), {"name"}, ["Why?", A]),
    (row(said("Why?", name="\ud800"), ANSWER), {"name"}, ["Why?", A]),
    (row(USER, said("So.", "assistant", weight=True)), {"weight"}, [Q, "So."]),
    (row(USER, said("So.", "assistant", weight=0.5)), {"weight"}, None),
    (row(said("Why?", weight=1), ANSWER), {"weight"}, ["Why?", A]),
    (row(USER, said("So.<|x|>", "assistant")), {"control_token"}, [Q, "So.‹|x|›"]),
    (row(USER, said("So.\x00\ud83d", "assistant")), {"control_character"}, [Q, "So."]),
    (row(USER, ANSWER, SYSTEM), {"system_not_first", "last_not_assistant"}, [S, Q, A]),
    (row(SYSTEM, *GOOD), {"system_not_first"}, [f"{S}\n\n{S}", Q, A]),
    (row(ANSWER, USER, ANSWER), {"order"}, [Q, A]),
    (row(USER, USER, ANSWER), {"order"}, [f"{Q}\n\n{Q}", A]),
    (row(USER, said(""), said("Why?"), ANSWER), {"empty_content", "order"}, None),
    (row(USER, said([{"image": ""}]), ANSWER), {"content_type", "order"}, None),
    (row(*GOOD, USER), {"last_not_assistant"}, [S, Q, A]),
    (row(ANSWER), {"no_exchange"}, None),
    (row(SYSTEM, USER), {"no_exchange", "last_not_assistant"}, None),
    (row(USER, said("word " * 90_000, "assistant")), {"too_long"}, None),
]  # fmt: skip


@pytest.mark.parametrize(("faulty", "rules", "mended"), FAULTY)
def test_each_fault_of_a_row_is_named_and_mended_or_not(
    faulty: dict[str, Any], rules: set[str], mended: list[str] | None
) -> None:
    assert check_row(faulty, 65_536).keys() == rules
    result = mend_row(faulty, 65_536)
    texts = None if result is None else [message["content"] for message in result["messages"]]
    assert texts == mended
    assert result is None or check_row(result, 65_536) == {}


def test_every_rule_has_a_test_and_what_services_allow_is_no_fault() -> None:
    of_lines = {"encoding", "byte_order_mark", "blank_line", "broken_json", "repeated_key"}
    of_lines |= {"not_object", "line_too_long", "no_rows", "duplicate"}
    assert REPAIRS.keys() == of_lines.union(*(rules for _, rules, _ in FAULTY))
    for messages in (
        GOOD,
        [USER, ANSWER, said("And?", name="ann"), said("No.", "assistant", weight=0)],
        [said("Was war?"), said("Nichts – «gar nichts».\t\n[lacht] <3", "assistant")],
    ):
        assert check_row(row(*messages), 65_536) == {}


def test_faults_of_lines_have_their_numbers() -> None:
    good, other = dump(row(*GOOD)), dump(row(USER, said("Other.", "assistant")))
    data = b"".join(
        [
            b"\xef\xbb\xbf" + good,  # 1
            b"\n",  # 2
            other[:-20] + b"\n",  # 3
            b'{"messages": NaN}\r\n',  # 4
            b'["messages"]\n',  # 5
            other.replace(b"Other", b"Caf\xe9"),  # 6
            good,  # 7, as the first
            other[:-2] + b', "messages": []}\n',  # 8
            b"[" * 100_000 + b"\n",  # 9
            other.rstrip(),  # 10
        ]
    )
    assert lines_of(data) == {
        "byte_order_mark": [1],
        "blank_line": [2],
        "broken_json": [3, 4, 9],
        "not_object": [5],
        "encoding": [6],
        "duplicate": [7],
        "repeated_key": [8],
        "no_messages": [8],
    }
    report = check(data)
    assert (report.rows, report.faulty, report.written, report.mended) == (9, 8, 2, 1)
    assert "on line 1" in report.tallies["duplicate"].reason
    assert lines_of(b"") == {"no_rows": [1]}
    assert lines_of(b"\n") == {"blank_line": [1], "no_rows": [1]}


def test_good_rows_are_written_as_they_are_and_mended_ones_validate() -> None:
    good = json.dumps(row(USER, ANSWER)).replace("What", "Wh\\u0061t").replace(": ", ":  ")
    output = io.BytesIO()
    check(good.encode() + b"\r\n\n" + dump(*(faulty for faulty, _, _ in FAULTY)), output)
    first, *rest = output.getvalue().splitlines()
    assert first == good.encode()
    assert len(rest) > 5
    assert check(output.getvalue()).tallies == {}


def test_whatever_is_broken_the_mended_file_validates() -> None:
    chance = random.Random(3)
    values = [None, 1, True, [], {}, "", " ", "word", "<|im_start|>", ["a"], "\ud800", "user", 0.0]
    roles = ["system", "user", "assistant", "USER", "gpt", "tool", None]

    def message() -> object:
        keys = chance.choices(
            ["role", "content", "name", "weight", "extra"], k=chance.randint(1, 4)
        )
        made = {key: chance.choice(values) for key in keys}
        sane = {"role": chance.choice(roles), "content": chance.choice(["a", "b", " ", "c\n"])}
        return chance.choice([made, sane, sane, sane, {**made, **sane}, chance.choice(values)])

    rows = [row(*(message() for _ in range(chance.randint(0, 5)))) for _ in range(4_000)]
    output = io.BytesIO()
    report = check(dump(*rows), output)
    assert report.written == len(output.getvalue().splitlines()) > 20
    assert report.mended > 10
    assert report.written + report.repeated + report.left_out == report.rows == 4_000
    assert check(output.getvalue()).tallies == {}


@pytest.mark.parametrize(
    "encoding", ["utf-16", "utf-32", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"]
)
def test_a_wide_encoding_is_a_fault_of_each_row_and_is_rewritten(encoding: str) -> None:
    rows = [row(USER, said(text, "assistant")) for text in ("Gnädig.", "Ja.")]
    text = "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in rows)
    output = io.BytesIO()
    report = check(text.encode(encoding), output)
    assert {rule: tally.lines for rule, tally in report.tallies.items()} == {"encoding": [1, 2]}
    assert (report.faulty, report.mended) == (2, 2)
    assert output.getvalue() == text.encode()
    with pytest.raises(SourceUnreadable, match="save it as UTF-8"):
        check(text.encode(encoding)[:-1])


def test_rows_without_messages_are_no_duplicates() -> None:
    assert lines_of(dump({}, {"id": 1}, row(), row())) == {
        "no_messages": [1, 2, 3, 4],
        "unknown_key": [2],
    }


def test_long_lines_and_many_rows_take_little_memory() -> None:
    long = b'{"messages": "' + b"x" * (65 * 2**20) + b'"}\n' + dump(row(*GOOD))
    assert lines_of(long) == {"line_too_long": [1]}
    many = 2 * b"".join(dump(row(USER, said(f"Answer {n}", "assistant"))) for n in range(8_000))
    tracemalloc.start()
    report = check(many, max_lines=3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (report.rows, report.faulty) == (16_000, 8_000)
    assert report.tallies["duplicate"].lines == [8_001, 8_002, 8_003]
    assert peak < len(many) / 2
