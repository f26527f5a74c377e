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
    assert faults(path) == [(2, "row_thought", "its answer is nothing but a thought")]
    path = written(tmp_path, chat(*more), chat(more[0], ("assistant", THOUGHT)))
    assert faults(path) == [(2, "row_thought", "its answer is nothing but a thought")]


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
    assert "4 thoughts: what a model thought before it answered is taken off" in done.stderr
    shown = json.loads(memoirist("look", "coverage", "--format", "json").stdout)
    assert any("thoughts 4" in str(row["flags"]) for row in shown)
