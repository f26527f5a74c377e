"""Conversations with tools that are kept whole, in OpenAI's structure whatever their layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.extractors.test_dataset_rows import taken, written

ASKED = "How warm is it in Rome?"
SAID = "It is 30 degrees."
CALL = {"name": "weather", "arguments": {"city": "Rome"}}
RESULT = '{"degrees": 30}'
SCHEMA = {"name": "weather", "description": "Tell.", "parameters": {"type": "object"}}
TOOLS = [{"type": "function", "function": SCHEMA}]
HERMES_PROMPT = (
    "You are a function calling AI model. Here are the available tools: <tools>"
    f" {json.dumps(TOOLS)} </tools> Use them."
)


def openai(arguments: object = json.dumps(CALL["arguments"]), **more: object) -> dict[str, Any]:
    call = {"id": "c1", "type": "function", "function": {**CALL, "arguments": arguments}}
    return {
        "messages": [
            {"role": "user", "content": ASKED},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": RESULT},
            {"role": "assistant", "content": SAID},
        ],
        **more,
    }


def sharegpt(*turns: tuple[str, str], **more: object) -> dict[str, Any]:
    return {"conversations": [{"from": side, "value": text} for side, text in turns], **more}


def hermes(call: str, **more: object) -> dict[str, Any]:
    called = ("gpt", f"<tool_call>\n{call}\n</tool_call>")
    answered = ("tool", f"<tool_response>\n{RESULT}\n</tool_response>")
    return sharegpt(("human", ASKED), called, answered, ("gpt", SAID), **more)


def row_of(path: Path) -> dict[str, Any]:
    _, (row,) = taken(path, keep_tools=True)
    return row


def whole(path: Path) -> dict[str, Any]:
    row = row_of(path)
    assert row["tool_turns"], row
    return {**row, **json.loads(row["tool_turns"])}


CALLED = {"id": "call00001", "type": "function", "function": CALL}
MESSAGES = [
    {"role": "user", "content": ASKED},
    {"role": "assistant", "content": "", "tool_calls": [CALLED]},
    {"role": "tool", "content": RESULT, "tool_call_id": "call00001"},
    {"role": "assistant", "content": SAID},
]
TURNS = (("human", ASKED), ("function_call", json.dumps(CALL)), ("observation", RESULT))


@pytest.mark.parametrize(
    "row",
    [
        openai(tools=TOOLS),
        openai(arguments=CALL["arguments"], tools=json.dumps(TOOLS)),
        openai(functions=[SCHEMA]),
        openai()["messages"],
        {"messages": [
            {"role": "user", "content": ASKED},
            {"role": "assistant",
             "function_call": {"name": "weather", "arguments": json.dumps(CALL["arguments"])}},
            {"role": "function", "name": "weather", "content": json.loads(RESULT)},
            {"role": "assistant", "content": [{"type": "text", "text": SAID}]},
            {"role": "user", "content": "Thanks."},
        ]},
        sharegpt(*TURNS, ("gpt", SAID), tools=json.dumps([SCHEMA])),
        sharegpt(*TURNS, ("gpt", f"<think>Hm.</think>{SAID}")),
        sharegpt(("gpt", "Good day!"), *TURNS, ("gpt", SAID)),
        hermes(json.dumps(CALL), tools=json.dumps(TOOLS)),
        hermes(repr(CALL)),
    ],
)  # fmt: skip
def test_layouts_become_one_structure(tmp_path: Path, row: Any) -> None:
    found = whole(written(tmp_path, row))
    assert found["messages"] == MESSAGES
    assert found["tools"] == (TOOLS if "tools" in row or "functions" in row else [])
    assert (found["question"], found["answer"]) == (ASKED, f"{json.dumps(CALL)}\n\n{SAID}")
    assert "tool_turns" not in (found["notes"] or "")


def test_a_system_prompt_gives_its_tools_away(tmp_path: Path) -> None:
    for prompt in (
        HERMES_PROMPT,
        f"Be kind.\n\n# Tools\n\n<tools>\n{json.dumps(TOOLS[0])}\n</tools>",
    ):
        row = hermes(json.dumps(CALL))
        row["conversations"].insert(0, {"from": "system", "value": prompt})
        found = whole(written(tmp_path, row))
        assert (found["tools"], found["messages"]) == (TOOLS, MESSAGES)
        assert found["system"] == ("Be kind." if prompt.startswith("Be") else None)


def test_words_calls_and_results_of_several_turns(tmp_path: Path) -> None:
    calls = json.dumps([CALL, {"name": "time", "arguments": "{}"}])
    row = sharegpt(
        ("system", "Be brief."), ("human", ASKED), ("gpt", "I look."), ("function_call", calls),
        ("observation", "30"), ("observation", "noon"), ("gpt", SAID),
        ("human", "And now?"), ("human", "Quick!"), ("function_call", json.dumps(CALL)),
    )  # fmt: skip
    found = whole(written(tmp_path, row))
    roles = [message["role"] for message in found["messages"]]
    assert roles == ["user", "assistant", "tool", "tool", "assistant", "user", "assistant"]
    assert found["messages"][1]["content"] == "I look."
    given = [call["id"] for m in found["messages"] for call in m.get("tool_calls", ())]
    assert given == ["call00001", "call00002", "call00003"]
    assert [m["tool_call_id"] for m in found["messages"][2:4]] == given[:2]
    assert found["question"] == f"{ASKED}\n\nAnd now?\n\nQuick!"
    assert (found["system"], found["tools"]) == ("Be brief.", [])


def test_results_are_matched_by_their_ids(tmp_path: Path) -> None:
    row = openai(arguments="")
    asked, calls, result, answer = row["messages"]
    calls["tool_calls"].append({"id": "c2", "function": {"name": "time", "arguments": None}})
    row["messages"] = [asked, calls, {**result, "tool_call_id": "c2"}, result, answer]
    found = whole(written(tmp_path, row))
    assert [m.get("tool_call_id") for m in found["messages"]][2:4] == ["call00002", "call00001"]
    assert found["messages"][1]["tool_calls"][1]["function"]["arguments"] == {}


def test_rows_without_calls_keep_their_tools_and_others_are_as_ever(tmp_path: Path) -> None:
    row = sharegpt(("human", ASKED), ("gpt", SAID))
    assert whole(written(tmp_path, {**row, "tools": TOOLS}))["tools"] == TOOLS
    plain = row_of(written(tmp_path, row))
    assert (plain["tool_turns"], plain["answer"]) == (None, SAID)


def test_typed_columns_fill_in_no_arguments(tmp_path: Path) -> None:
    schema = {**SCHEMA, "parameters": {"type": "object", "properties": {"day": {"type": None}}}}
    row = openai(arguments={"city": "Rome", "zone": None, "day": None}, tools=[schema])
    found = whole(written(tmp_path, row))
    assert found["messages"][1]["tool_calls"][0]["function"]["arguments"] == {
        "city": "Rome", "day": None,
    }  # fmt: skip
    assert found["tools"][0]["function"]["parameters"]["properties"] == {"day": {}}


@pytest.mark.parametrize(
    "row",
    [
        sharegpt(("human", ASKED), ("gpt", "[weather(city='Rome')]"), ("tool", "30"),
                 ("gpt", SAID)),
        sharegpt(("human", ASKED), ("function_call", "weather(Rome)"), ("observation", "30"),
                 ("gpt", SAID)),
        sharegpt(("human", ASKED), ("function_call", json.dumps([CALL, CALL])),
                 ("observation", "30"), ("gpt", SAID)),
        sharegpt(("human", ASKED), ("function_call", '{"arguments": {}}'), ("observation", "30"),
                 ("gpt", SAID)),
        sharegpt(("human", ASKED), ("function_call", '{"name": "a\\nb"}'), ("observation", "30"),
                 ("gpt", SAID)),
        sharegpt(("human", ASKED), ("function_call", '{"name": "a", "arguments": [1]}'),
                 ("observation", "30"), ("gpt", SAID)),
        sharegpt(("system", "You have access to the following functions:\n\nweather(city)"),
                 *TURNS, ("gpt", SAID)),
        {"messages": [
            {"role": "user", "content": ASKED},
            {"role": "assistant", "content": [{"type": "tool_use", "name": "w", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "content": "30"}]},
            {"role": "assistant", "content": SAID}]},
        {"messages": [*openai()["messages"][:3], {"role": "assistant", "content": "-", "weight": 0},
                      {"role": "user", "content": ASKED}, {"role": "assistant", "content": SAID}]},
    ],
)  # fmt: skip
def test_other_forms_are_set_aside_with_a_flag(tmp_path: Path, row: Any) -> None:
    found = row_of(written(tmp_path, row))
    assert (found["tool_turns"], found["question"], found["answer"]) == (None, ASKED, SAID)
    assert "tool_turns:" in found["notes"]


def test_without_the_setting_nothing_is_kept(tmp_path: Path) -> None:
    path = written(tmp_path, openai(tools=TOOLS))
    _, (row,) = taken(path)
    assert (row["tool_turns"], row["answer"], row["notes"]) == (None, SAID, "tool_turns:2")


def test_placeholders_are_filled_in_everywhere(tmp_path: Path) -> None:
    path = written(tmp_path, json.dumps(openai()).replace("Rome", "{{town}}"))
    _, (row,) = taken(path, keep_tools=True, fill={"town": 'Ro"me'})
    assert json.loads(row["tool_turns"])["messages"][0]["content"] == 'How warm is it in Ro"me?'
