"""Split by group, purge, conversations, dataset versions, export."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from memoirist.data.composition.chatml import render
from memoirist.data.composition.conversations import (
    Composed,
    ComposeSettings,
    compose,
    hold_out_source,
    partition,
    purge,
)
from memoirist.data.composition.export_formats import export
from memoirist.data.schema.records import Conversation, Pair
from tests.support.chat_tokens import TOKENS
from tests.support.rows import NOW, pair, prose

SETTINGS = ComposeSettings.model_validate({})


def _groups(composed: Composed, pairs: list[Pair]) -> dict[str, set[str]]:
    group_of = {p.id: p.group_id for p in pairs}
    found: dict[str, set[str]] = {}
    for conversation in composed.conversations:
        for pair_id in conversation.pair_ids:
            found.setdefault(group_of[pair_id], set()).add(conversation.split)
    return found


def test_whole_groups_are_held_out() -> None:
    pairs = [pair(n) for n in range(200)]
    composed = compose(pairs, "Be Ada.", SETTINGS, {}, NOW)
    assert all(len(splits) == 1 for splits in _groups(composed, pairs).values())
    counts = Counter(c.split for c in composed.conversations)
    assert counts["train"] + counts["validation"] + counts["test"] == 200
    assert 0.08 <= counts["test"] / 200 <= 0.15
    assert 0.03 <= counts["validation"] / 200 <= 0.1


def test_a_rerun_is_the_same_version_and_a_new_pair_another() -> None:
    pairs = [pair(n) for n in range(40)]
    first = compose(pairs, "Be Ada.", SETTINGS, {}, NOW)
    again = compose(list(reversed(pairs)), "Be Ada.", SETTINGS, {}, NOW)
    assert {c.id for c in first.conversations} == {c.id for c in again.conversations}
    assert first.dataset.id == again.dataset.id
    assert compose([*pairs, pair(40)], "Be Ada.", SETTINGS, {}, NOW).dataset.id != first.dataset.id


def test_a_new_source_moves_no_group_of_another() -> None:
    pairs = [pair(n) for n in range(80)]
    before = partition(pairs, SETTINGS, {})
    more = [pair(n, source_id="other", group_id=f"other {n // 4}") for n in range(100, 180)]
    after = partition([*pairs, *more], SETTINGS, before)
    assert {g: after[g] for g in before} == before
    assert partition([*pairs, *more], SETTINGS, {}) == after


@pytest.mark.parametrize("n", [1, 2, 3])
def test_very_few_pairs_all_train(n: int) -> None:
    composed = compose([pair(i, group_id="one") for i in range(n)], "", SETTINGS, {}, NOW)
    assert composed.dataset.n_train == n
    assert composed.dataset.n_test == composed.dataset.n_validation == 0


def test_one_small_source_of_three_is_held_out_whole_but_never_a_trained_one() -> None:
    pairs = [pair(n) for n in range(60)]
    pairs += [pair(n, source_id="second", group_id=f"s{n}") for n in range(100, 140)]
    pairs += [pair(n, source_id="third", group_id=f"t{n}") for n in range(200, 210)]
    assert hold_out_source(pairs, SETTINGS, {}) == "third"
    assert hold_out_source(pairs, SETTINGS, {"t200": "train"}) is None
    tiny = SETTINGS.model_copy(update={"max_source_share": 0.01})
    assert hold_out_source(pairs[:-9], tiny, {"t200": "test"}) == "third"
    assert hold_out_source(pairs[:60], SETTINGS, {}) is None
    composed = compose(pairs, "", SETTINGS, {}, NOW)
    split_of = {i: c.split for c in composed.conversations for i in c.pair_ids}
    assert {split_of[p.id] for p in pairs if p.source_id == "third"} == {"test"}


def test_train_is_purged_of_what_test_holds() -> None:
    shared = prose(1)
    test = [pair(0, answer=shared)]
    train = [pair(1, answer=shared + " And more."), pair(2, answer="I said nothing of the sort.")]
    kept, verdicts = purge(train, test, SETTINGS, NOW)
    assert kept == train[1:]
    assert [(v.subject_id, v.rule, v.beaten_by) for v in verdicts] == [
        (train[0].id, "test_overlap", test[0].id)
    ]
    assert purge([], test, SETTINGS, NOW) == ([], [])
    assert purge(train, [], SETTINGS, NOW) == (train, [])
    asked = [pair(3, question="What did your father do at the old mill?")]
    alike = [pair(4, question="What did your father do at that old mill?"), pair(5)]
    assert [v.subject_id for v in purge(alike, asked, SETTINGS, NOW)[1]] == [alike[0].id]


def test_threads_become_conversations_of_several_turns() -> None:
    episode = [pair(n, thread_id="t", group_id="e", ord=n, origin="spoken") for n in range(6)]
    composed = compose(episode, "Be Ada.", SETTINGS, {}, NOW)
    assert [len(c.pair_ids) for c in composed.conversations] == [4, 2]
    roles = [m["role"] for m in composed.conversations[0].messages]
    assert roles == ["system"] + ["user", "assistant"] * 4
    row = [pair(n, thread_id="r", group_id="r", ord=n, origin="given") for n in range(6)]
    assert len(compose(row, "", SETTINGS, {}, NOW).conversations) == 1


def test_a_pairs_own_system_prompt_wins() -> None:
    composed = compose([pair(0, system="Be brief.")], "Be Ada.", SETTINGS, {}, NOW)
    assert composed.conversations[0].messages[0] == {"role": "system", "content": "Be brief."}


@pytest.mark.parametrize("token", TOKENS)
def test_no_control_token_reaches_a_conversation(token: str) -> None:
    dirty = pair(0, question=f"What {token} now?", answer=f"It {token} is.", system=f"S {token}")
    (conversation,) = compose([dirty], "", SETTINGS, {}, NOW).conversations
    assert all(token not in m["content"] for m in conversation.messages)
    assert render(conversation.messages).count("<|im_start|>") == 3


def test_answers_are_verbatim() -> None:
    answer = "“Well—” he said; 5 < 6, naïve café, 我学会了…\n\nAnd more [sic]."
    (conversation,) = compose([pair(0, answer=answer)], "", SETTINGS, {}, NOW).conversations
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
