"""Follow-ups: neighbouring passages become one conversation, by seed, each asked for once."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data.follow import FollowUp, joined, neighbours
from data.nouns import Pair
from data.rejects import RejectSettings
from generators.follow import open_follow_prompt
from generators.replies import Reply, Suggestion
from generators.settings import InterviewSettings
from tests.conftest import Command
from tests.rows import pair, prose
from tests.scripted import Scripted
from tests.test_changes import book


def _pairs(n: int) -> tuple[list[Pair], dict[str, int]]:
    """Return pairs of one document, four to a chapter, with their passages' places."""
    pairs = [pair(number, origin="generated", answer=prose(number)) for number in range(n)]
    return pairs, {each.passage_id: number for number, each in enumerate(pairs)}


def test_neighbours_are_of_one_chapter_and_drawn_by_seed() -> None:
    pairs, places = _pairs(400)
    every = neighbours(pairs, places, 1.0, 42)
    assert len(every) == 200  # two and two of each four
    assert all(a.group_id == b.group_id for a, b in every)
    assert all(places[b.passage_id] == places[a.passage_id] + 1 for a, b in every)
    assert len({each.id for two in every for each in two}) == 400
    some = neighbours(pairs, places, 0.3, 42)
    assert 50 <= len(some) <= 120
    assert some == neighbours(list(reversed(pairs)), places, 0.3, 42)
    assert some != neighbours(pairs, places, 0.3, 43)
    assert neighbours(pairs, places, 0.0, 42) == []
    # A chapter more changes nothing in the others; a gap between two parts them.
    assert set(some) <= set(neighbours(*_pairs(408), 0.3, 42))
    gone = {two[0].id for two in some}
    left = neighbours([each for each in pairs if each.id not in gone], places, 0.3, 42)
    assert not {two[1].id for two in some} & {two[1].id for two in left}


def test_a_pair_goes_on_only_from_one_that_is_there() -> None:
    (first, later), _ = _pairs(2)
    up = {later.id: FollowUp(pair_id=later.id, before_id=first.id, question="And then?")}
    both = joined([first, later], up, 700)
    assert [each.thread_id for each in both] == [first.thread_id] * 2
    assert [each.ord for each in both] == [0, 1]
    assert both[1].question == "And then?"
    assert joined([later], up, 700) == [later]
    assert joined([first, later], up, 100) == [first, later]


def test_a_follow_up_may_lean_on_the_reply_and_may_not_leak() -> None:
    (first, later), _ = _pairs(2)
    prompt = open_follow_prompt("en", "Ada Quill", "m", InterviewSettings())
    task = prompt.task(first, later)
    assert task == prompt.task(first, later)
    assert first.question in task.messages[1]["content"]
    assert not any("$" in message["content"] for message in task.messages)
    leak = " ".join(later.answer.split()[:12]) + "?"
    texts = (leak, "What would Ada Quill say to that?", "That sounds hard; how did it go on?")
    reply = Reply(
        is_answer=True,
        confidence=1,
        questions=tuple(Suggestion(type="follow-up", text=text) for text in texts),
    )
    assert prompt.best(reply, later, task, RejectSettings()) == texts[2]


def test_neighbours_become_a_conversation_and_are_asked_once(
    memoirist: Command, tmp_path: Path
) -> None:
    # One chapter of twelve passages.
    (tmp_path / "book.md").write_text(
        re.sub(r"# The (?!river)\w+\n\n|# Salt Street\n\n", "", book()), "utf-8"
    )
    assert memoirist("extract", "book.md", "--persona", "Ada Quill").returncode == 0
    followed: list[str] = []

    def say(body: Mapping[str, Any]) -> str:
        system, user = (message["content"] for message in body["messages"][:2])
        mark = re.findall(r"first saw the (\w+) ", user)[-1]
        if "in the middle of a conversation" not in system:
            return json.dumps({"questions": [f"What did the {mark} mean to you as a child?"]})
        followed.append(user)
        return json.dumps({"questions": [f"Then the {mark}, how did that come about?"]})

    share = ("--set", "interview.follow_up_share=1.0", "--set", "compose.test_share=0")
    with Scripted(say) as server:
        there = ("--base-url", server.base_url, "--model", "interviewer")
        assert memoirist("ask", *there, *share).returncode == 0
        done = memoirist("curate")
        assert done.returncode == 0, done.stderr
        assert "neighbours joined" in done.stderr
        n = len(followed)
        assert n >= 3
        assert all("mean to you as a child?" in user for user in followed)
        again = memoirist("curate")
        assert "nothing to do" in again.stderr
        assert len(followed) == n
    assert memoirist("compose").returncode == 0
    assert memoirist("export", "-o", "out.jsonl").returncode == 0
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text("utf-8").splitlines()]
    talks = [row["messages"] for row in rows if len(row["messages"]) == 5]
    assert len(talks) == n
    for talk in talks:
        assert [m["role"] for m in talk] == ["system", "user", "assistant", "user", "assistant"]
        assert talk[1]["content"].endswith("mean to you as a child?")
        assert talk[3]["content"].startswith("Then the ")
        mark = talk[3]["content"].split()[2].strip(",")
        assert f"first saw the {mark} " in talk[4]["content"]
    # Without the share they stand alone again.
    assert memoirist("curate", "--set", "interview.follow_up_share=0.0").returncode == 0
    assert memoirist("compose").returncode == 0
    assert memoirist("export", "-o", "alone.jsonl").returncode == 0
    assert "Then the " not in (tmp_path / "alone.jsonl").read_text("utf-8")
