"""Conversations, the ids of dataset versions, export."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from memoirist.data.composition.chatml import render
from memoirist.data.composition.conversations import Composed, ComposeSettings, compose
from memoirist.data.composition.export_formats import export
from memoirist.data.composition.splits import Division
from memoirist.data.schema.records import Conversation, Pair
from tests.support.chat_tokens import TOKENS
from tests.support.rows import NOW, pair

SETTINGS = ComposeSettings.model_validate({})


def trained(*pairs: Pair, system: str = "") -> Composed:
    """Compose pairs of which none is held out."""
    division = Division(pairs={"train": pairs}, groups=(), verdicts=(), summary="")
    return compose(division, system, SETTINGS, NOW)


def test_a_rerun_is_the_same_version_and_a_new_pair_another() -> None:
    pairs = [pair(n) for n in range(40)]
    first = trained(*pairs, system="Be Ada.")
    again = trained(*reversed(pairs), system="Be Ada.")
    assert {c.id for c in first.conversations} == {c.id for c in again.conversations}
    assert first.dataset.id == again.dataset.id
    assert trained(*pairs, pair(40), system="Be Ada.").dataset.id != first.dataset.id


def test_threads_become_conversations_of_several_turns() -> None:
    episode = [pair(n, thread_id="t", group_id="e", ord=n, origin="spoken") for n in range(6)]
    composed = trained(*episode, system="Be Ada.")
    assert [len(c.pair_ids) for c in composed.conversations] == [4, 2]
    roles = [m["role"] for m in composed.conversations[0].messages]
    assert roles == ["system"] + ["user", "assistant"] * 4
    row = [pair(n, thread_id="r", group_id="r", ord=n, origin="given") for n in range(6)]
    assert len(trained(*row).conversations) == 1


def test_a_pairs_own_system_prompt_wins() -> None:
    composed = trained(pair(0, system="Be brief."), system="Be Ada.")
    assert composed.conversations[0].messages[0] == {"role": "system", "content": "Be brief."}


@pytest.mark.parametrize("token", TOKENS)
def test_no_control_token_reaches_a_conversation(token: str) -> None:
    dirty = pair(0, question=f"What {token} now?", answer=f"It {token} is.", system=f"S {token}")
    (conversation,) = trained(dirty).conversations
    assert all(token not in m["content"] for m in conversation.messages)
    assert render(conversation.messages).count("<|im_start|>") == 3


def test_answers_are_verbatim() -> None:
    answer = "“Well—” he said; 5 < 6, naïve café, 我学会了…\n\nAnd more [sic]."
    (conversation,) = trained(pair(0, answer=answer)).conversations
    assert conversation.messages[-1]["content"] == answer


def _conversation() -> Conversation:
    return Conversation(
        id="c",
        dataset_id="d",
        split="train",
        pair_ids=("a", "b"),
        messages=[
            {"role": "system", "content": "S"},
            {"role": "user", "content": "微调测试"},
            {"role": "assistant", "content": "我学会了"},
            {"role": "user", "content": "Q"},
            {"role": "assistant", "content": "A"},
        ],
        n_tokens=1,
    )


def test_export_formats(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out.jsonl"
    assert export([_conversation()], "messages", out) == 1
    assert json.loads(out.read_text("utf-8"))["messages"] == list(_conversation().messages)
    assert "微调测试" in out.read_text("utf-8")
    assert export([_conversation()], "alpaca", out) == 2
    lines = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert lines[1]["history"] == [["微调测试", "我学会了"]]
    assert (lines[1]["instruction"], lines[1]["output"], lines[1]["system"]) == ("Q", "A", "S")
    export([_conversation()], "sharegpt", out)
    assert [t["from"] for t in json.loads(out.read_text("utf-8"))["conversations"]] == [
        "system",
        "human",
        "gpt",
        "human",
        "gpt",
    ]
    export([_conversation()], "chatml", out)
    assert json.loads(out.read_text("utf-8"))["text"] == render(_conversation().messages)
    assert export([_conversation()], "parquet", out) == 1
    assert pq.read_table(out).to_pylist()[0]["messages"][1]["content"] == "微调测试"
    assert export([], "messages", out) == 0
    assert out.read_text("utf-8") == ""
    assert list(out.parent.iterdir()) == [out]
