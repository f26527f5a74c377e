"""What assistants of models do beside answering: thoughts, calls of tools, greetings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import Command
from tests.extractors.test_dataset_rows import chat, exchanges, faults, taken, written

ASKED = "How did you start at the mill?"
SAID = "My uncle took me there when I was fourteen, and I swept the floor for a year."
ANSWERED = [(ASKED, SAID)]
THOUGHT = "<think>\nHmm, secret plan.\n</think>\n\n"


def pairs(path: Path) -> list[tuple[object, ...]]:
    return [each[3:] for each in exchanges(path)]


def notes(path: Path) -> str:
    return " ".join(row["notes"] or "" for row in taken(path)[1]).strip()


def from_(*turns: tuple[str, str]) -> dict[str, object]:
    return {"conversations": [{"from": side, "value": text} for side, text in turns]}


def answered(**message: object) -> dict[str, object]:
    asked = {"role": "user", "content": ASKED}
    return {"messages": [asked, {"role": "assistant", **message}]}


@pytest.mark.parametrize(
    "row",
    [
        answered(content=THOUGHT + SAID),
        answered(content=SAID, reasoning_content="Hmm, secret plan."),
        answered(content=SAID, thinking="Hmm, secret plan."),
        answered(content=[{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": SAID}]),
        from_(("human", ASKED), ("gpt", THOUGHT + SAID)),
        {"instruction": ASKED, "input": "", "output": THOUGHT + SAID},
        {"question": ASKED, "answer": THOUGHT + SAID},
        {"question": ASKED, "answer": f"Thought: I now know.\nFinal Answer: {SAID}"},
        answered(content=f"Final Answer: {SAID}"),
        {"prompt": ASKED, "chosen": THOUGHT + SAID, "rejected": "No."},
        [ASKED, THOUGHT + SAID],
        {"conversation": [{"human": ASKED, "assistant": THOUGHT + SAID}]},
        {"text": f"### Human: {ASKED}### Assistant: {THOUGHT}{SAID}"},
        {"text": f"<|im_start|>user\n{ASKED}<|im_end|>\n<|im_start|>assistant\n{THOUGHT}{SAID}"},
        {"instruction": ASKED, "instances": [{"input": "", "output": THOUGHT + SAID}]},
        {"prompt": {"role": "prompter", "text": ASKED,
                    "replies": [{"role": "assistant", "text": THOUGHT + SAID}]}},
    ],
)  # fmt: skip
def test_thoughts_are_no_words_of_the_person(tmp_path: Path, row: object) -> None:
    path = written(tmp_path, row)
    assert pairs(path) == ANSWERED
    assert notes(path) == "thoughts:1"


def test_an_answer_that_only_thinks_is_left_out(tmp_path: Path) -> None:
    more = ("user", "And then?"), ("assistant", "Then I ran a loom.")
    for alone in (THOUGHT, "<think>never closed", None):
        row = chat(("user", ASKED), ("assistant", alone), *more)
        if alone is None:
            row["messages"][1]["reasoning_content"] = "Hm."  # type: ignore[index]
        path = written(tmp_path, row)
        assert pairs(path) == [("And then?", "Then I ran a loom.")]
        assert notes(path) == "thoughts:1 thought_alone:1"
    good = {"question": ASKED, "answer": SAID}
    path = written(tmp_path, good, {"question": ASKED, "answer": THOUGHT})
    assert faults(path) == [(2, "row_thought", "its answer contains only thoughts")]
    path = written(tmp_path, chat(*more), chat(more[0], ("assistant", THOUGHT)))
    assert faults(path) == [(2, "row_thought", "its answer contains only thoughts")]


def test_thoughts_in_plain_rows_are_read_as_carefully(tmp_path: Path) -> None:
    rows = [{"question": f"{ASKED} {n}", "answer": f"{THOUGHT * (n % 3)}{SAID}"} for n in range(9)]
    path = written(tmp_path, *rows)
    assert taken(path)[1] == taken(path, carefully=True)[1]
    assert {answer for _, answer in pairs(path)} == {SAID}


def test_the_extract_line_counts_what_is_left_out(memoirist: Command, tmp_path: Path) -> None:
    rows = [chat(("user", f"{ASKED} {n}"), ("assistant", THOUGHT + SAID)) for n in range(4)]
    written(tmp_path, *rows)
    done = memoirist("extract", "chat.jsonl", "--persona", "Ada Marrow")
    assert done.returncode == 0, done.stderr
    assert "4 thoughts: what a model thought before it answered is removed" in done.stderr
    shown = json.loads(memoirist("look", "coverage", "--format", "json").stdout)
    assert any("thoughts 4" in str(row["flags"]) for row in shown)


CALL = '{"name": "find", "arguments": {"what": "mill"}}'
OPENAI_CALL = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": "{}"}}
USED = {"type": "tool_use", "id": "t1", "name": "find", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "ok"}
HERMES = "You are a function calling AI model.\n<tools>\n[]\n</tools>"
SHAREGPT = (("human", ASKED), ("gpt", "Let me look that up."), ("function_call", CALL))


def turns(*messages: dict[str, object]) -> dict[str, object]:
    asked, said = {"role": "user", "content": ASKED}, {"role": "assistant", "content": SAID}
    return {"messages": [asked, *messages, said]}


def said(role: str, content: object, **more: object) -> dict[str, object]:
    return {"role": role, "content": content, **more}


TOOLS: dict[str, tuple[dict[str, object], int]] = {
    "sharegpt": (
        {"tools": "[]", **from_(*SHAREGPT, ("observation", '{"r":1}'), ("gpt", SAID))}, 3),
    "openai": (turns(said("assistant", None, tool_calls=[OPENAI_CALL]),
                     said("tool", "ok", tool_call_id="c1")), 2),
    "openai, with words": (turns(said("assistant", "Let me see.", tool_calls=[OPENAI_CALL]),
                                 said("tool", "ok")), 2),
    "openai functions": (turns(said("assistant", None, function_call={"name": "f"}),
                               said("function", "ok", name="f")), 2),
    "openai responses": (turns({"type": "function_call", "name": "f", "arguments": "{}"},
                               {"type": "function_call_output", "output": "ok"}), 2),
    "anthropic": (turns(said("assistant", [{"type": "text", "text": "Let me see."}, USED]),
                        said("user", [RESULT])), 2),
    "anthropic server": ({"messages": [said("user", ASKED), said("assistant", [
        {"type": "text", "text": "Let me see."}, {"type": "server_tool_use", "id": "s"},
        {"type": "web_search_tool_result", "content": []}, {"type": "text", "text": SAID}])]}, 2),
    "gemini": ({"contents": [
        {"role": "user", "parts": [{"text": ASKED}]},
        {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {}}}]},
        {"role": "model", "parts": [{"text": SAID}]}]}, 2),
    "hermes": ({"messages": [said("system", HERMES), said("user", ASKED),
                             said("assistant", f"<tool_call>\n{CALL}\n</tool_call>"),
                             said("tool", "<tool_response>\n{}\n</tool_response>"),
                             said("assistant", SAID)]}, 3),
    "qwen, rendered": (turns(said("assistant", f"Let me see.\n<tool_call>\n{CALL}\n</tool_call>"),
                             said("user", "<tool_response>\n{}\n</tool_response>")), 2),
    "glm": ({"messages": [{"role": "system", "content": None, "tools": []}, said("user", ASKED),
                          said("assistant", 'find\n{"what": "mill"}'), said("observation", "ok"),
                          said("assistant", SAID)]}, 2),
    "glm 3": (turns(said("assistant", "I look it up."),
                    {"role": "tool", "name": "find", "parameters": {}, "observation": "ok"}), 2),
    "toolace": (turns(said("assistant", '[Find Mill(name="x", n=2)]'), said("tool", "[]")), 2),
    "smolagents": (turns(said("tool-call", [{"type": "text", "text": "Calling tools: []"}]),
                         said("tool-response", [{"type": "text", "text": "ok"}])), 2),
    "function-calling-chatml": (from_(("human", ASKED), ("function-call", CALL),
                                      ("function-response", "{}"), ("gpt", SAID)), 2),
    "toolace, with its prompt": ({
        "system": "You are an expert in composing functions.\nHere is a list of functions in JSON.",
        "conversations": [{"from": "user", "value": ASKED},
                          {"from": "assistant", "value": '[find_mill(year="1908")]'},
                          {"from": "tool", "value": "[]"},
                          {"from": "assistant", "value": SAID}]}, 3),
    "langchain": ({"messages": [{"type": "human", "content": ASKED},
                                {"type": "ai", "content": "", "tool_calls": [{"name": "f"}]},
                                {"type": "tool", "content": "ok"},
                                {"type": "ai", "content": SAID}]}, 2),
    "llama": (turns(said("assistant", f"<|python_tag|>{CALL}"), said("ipython", "ok")), 2),
    "mistral": (turns(said("assistant", f"[TOOL_CALLS] [{CALL}]"),
                      said("user", "[TOOL_RESULTS] {} [/TOOL_RESULTS]")), 2),
    "bare json": (turns(said("assistant", f"```json\n[{CALL}]\n```"), said("tool", "ok")), 2),
    "react": (turns(said("assistant", "Thought: x\nAction: find\nAction Input: mill"),
                    said("user", "Observation: it stands by the river")), 2),
    "gemma": (turns(said("assistant", "```tool_code\nprint(find('mill'))\n```"),
                    said("user", "```tool_output\nok\n```")), 2),
    "llama 3": (turns(said("assistant", '{"function": "find", "parameters": {"q": "mill"}}'),
                      said("user", '{"result": "ok"}')), 2),
    "react in one": (answered(content="Thought: x\nAction: find\nAction Input: mill\n"
                                      f"Observation: ok\nFinal Answer: {SAID}"), 1),
    "two calls": (turns(said("assistant", "", tool_calls=[OPENAI_CALL, OPENAI_CALL]),
                        said("tool", "a"), said("tool", "b"), said("assistant", "Once more."),
                        said("assistant", None, tool_calls=[OPENAI_CALL]), said("tool", "c")), 6),
    "glaive": ({"system": f"SYSTEM: You help with access to the following functions: {CALL}",
                "chat": f"USER: {ASKED}\n\n\nASSISTANT: <functioncall> {CALL} <|endoftext|>\n\n\n"
                        f"FUNCTION RESPONSE: {{}}\n\n\nASSISTANT: {SAID} <|endoftext|>\n\n\n"}, 3),
    "chatml": ({"text": f"<|im_start|>user\n{ASKED}<|im_end|>\n<|im_start|>assistant\n<tool_call>\n"
                        f"{CALL}\n</tool_call><|im_end|>\n<|im_start|>user\n<tool_response>\nok\n"
                        f"</tool_response><|im_end|>\n<|im_start|>assistant\n{SAID}<|im_end|>"}, 2),
}  # fmt: skip


@pytest.mark.parametrize("name", TOOLS)
def test_the_question_is_paired_with_the_last_answer(tmp_path: Path, name: str) -> None:
    row, n_tools = TOOLS[name]
    path = written(tmp_path, row)
    assert exchanges(path) == [(1, 0, None, ASKED, SAID)]
    assert notes(path) == f"tool_turns:{n_tools}"


def test_questions_that_only_a_tool_answers_are_left_out(tmp_path: Path) -> None:
    call, result = said("assistant", None, tool_calls=[OPENAI_CALL]), said("tool", "ok")
    row = turns(call, result, said("user", "And then?"))
    path = written(tmp_path, row)
    assert pairs(path) == [("And then?", SAID)]
    assert notes(path) == "tool_turns:2 unanswered:1"
    path = written(tmp_path, row, {"messages": [said("user", ASKED), call, result]})
    why = "it calls tools, and no answer follows the calls"
    assert faults(path) == [(2, "row_tool_call", why)]


@pytest.mark.parametrize(
    "answer",
    [f"<tool_call>{CALL}</tool_call>", CALL, f"[{CALL}]", '[find(what="mill")]', "[TOOL_CALLS] []",
     f"```json\n{CALL}\n```", f"<functioncall> {CALL}", f"<｜tool▁calls▁begin｜>{CALL}",
     "✿FUNCTION✿: find", "<function=find>{}</function>",
     "<tool_code>\nprint(find('mill'))\n</tool_code>", "<use_mcp_tool>\n</use_mcp_tool>",
     "Action: find\nAction Input: mill"],
)  # fmt: skip
def test_plain_rows_that_are_calls_are_refused(tmp_path: Path, answer: str) -> None:
    rows = [{"question": ASKED, "answer": SAID}, {"question": ASKED, "answer": answer}]
    path = written(tmp_path, *rows)
    assert [f[:2] for f in faults(path)] == [(2, "row_tool_call")]
    assert taken(path)[1] == taken(path, carefully=True)[1]


@pytest.mark.parametrize(
    "answer",
    ['{"name": "Ada", "age": 7}', "[laughs] Well, yes (I did).", "Observation: it was cold.",
     "The function=find is what we called it.", "Ada\nMarrow", "- [x] swept (twice)",
     "A model writes `<tool_call>` then.", "[(1)]"],
)  # fmt: skip
def test_what_looks_like_a_call_and_is_none_stays(tmp_path: Path, answer: str) -> None:
    path = written(tmp_path, turns(said("assistant", answer), said("user", "And?")))
    assert pairs(path) == [(ASKED, answer), ("And?", SAID)]
    path = written(tmp_path, {"question": ASKED, "answer": answer})
    assert pairs(path) == [(ASKED, answer)]


def test_a_system_prompt_keeps_what_is_not_about_tools(tmp_path: Path) -> None:
    prompt = "You are Ada Marrow, a weaver.\n\n# Tools\n\nYou may call:\n<tools>\n[]\n</tools>"
    path = written(tmp_path, chat(("system", prompt), ("user", ASKED), ("assistant", SAID)))
    assert exchanges(path) == [(1, 0, "You are Ada Marrow, a weaver.", ASKED, SAID)]
    prompt = "You are Ada Marrow, a weaver with access to the tools of the mill."
    path = written(tmp_path, chat(("system", prompt), ("user", ASKED), ("assistant", SAID)))
    assert exchanges(path) == [(1, 0, prompt, ASKED, SAID)]


def test_a_greeting_is_left_out_and_what_follows_kept(tmp_path: Path) -> None:
    path = written(tmp_path, from_(("gpt", "Ask me anything."), ("human", ASKED), ("gpt", SAID)))
    assert pairs(path) == ANSWERED
    assert notes(path) == "unasked:1"
    greeting = ("assistant", "Hi."), ("assistant", "Go on.")
    rest = ("user", ASKED), ("assistant", SAID), ("user", "Bye.")
    path = written(tmp_path, chat(("system", "S"), *greeting, *rest))
    assert exchanges(path) == [(1, 0, "S", ASKED, SAID)]
    assert notes(path) == "unasked:2 unanswered:1"
