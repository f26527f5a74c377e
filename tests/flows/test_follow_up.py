"""Follow-ups: neighbouring passages become one conversation, by seed, each asked for once."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from memoirist.data.composition.conversations import (
    ComposeSettings,
    FollowUp,
    join_follow_ups,
    neighbours,
)
from memoirist.data.curation.pairing import CurateSettings
from memoirist.data.schema.records import Pair, Verdict
from memoirist.data.store.store import Store
from memoirist.generators.settings import InterviewSettings
from memoirist.generators.tasks.question import FollowUpTask
from memoirist.generators.tasks.reply_parser import Reply, Suggestion
from tests.conftest import Command
from tests.flows.test_changed_sources import book
from tests.support.rows import pair, prose
from tests.support.scripted import Scripted


def limits(turns: int, max_words: int) -> ComposeSettings:
    settings = ComposeSettings.model_validate({"max_exchanges": turns})
    return settings.model_copy(update={"max_words": max_words})


TWO = limits(turns=2, max_words=700)


def _pairs(n: int) -> tuple[list[Pair], dict[str, int]]:
    """Return pairs of one document, four to a chapter, with their passages' places."""
    pairs = [pair(number, origin="generated", answer=prose(number)) for number in range(n)]
    return pairs, {each.passage_id: number for number, each in enumerate(pairs)}


def test_neighbours_are_of_one_chapter_and_drawn_by_seed() -> None:
    pairs, places = _pairs(400)
    every = neighbours(pairs, places, 1.0, 42, TWO)
    assert len(every) == 200  # two and two of each four
    assert all(a.group_id == b.group_id for a, b in every)
    assert all(places[b.passage_id] == places[a.passage_id] + 1 for a, b in every)
    assert len({each.id for two in every for each in two}) == 400
    some = neighbours(pairs, places, 0.3, 42, TWO)
    assert 50 <= len(some) <= 120
    assert some == neighbours(list(reversed(pairs)), places, 0.3, 42, TWO)
    assert some != neighbours(pairs, places, 0.3, 43, TWO)
    assert neighbours(pairs, places, 0.0, 42, TWO) == []
    # A chapter more changes nothing in the others; a gap between two parts them.
    assert set(some) <= set(neighbours(*_pairs(408), 0.3, 42, TWO))
    gone = {two[0].id for two in some}
    left = neighbours([each for each in pairs if each.id not in gone], places, 0.3, 42, TWO)
    assert not {two[1].id for two in some} & {two[1].id for two in left}


def test_a_pair_goes_on_only_from_one_that_is_there() -> None:
    (first, later), _ = _pairs(2)
    up = {later.id: FollowUp(pair_id=later.id, before_id=first.id, question="And then?")}
    both = join_follow_ups([first, later], up, TWO)
    assert [each.thread_id for each in both] == [first.thread_id] * 2
    assert [each.ord for each in both] == [0, 1]
    assert both[1].question == "And then?"
    assert join_follow_ups([later], up, TWO) == [later]
    assert join_follow_ups([first, later], up, limits(turns=2, max_words=100)) == [first, later]


def test_conversations_go_on_as_far_as_they_reach() -> None:
    pairs, places = _pairs(12)
    for turns, n in ((2, 6), (3, 6), (4, 9), (5, 9)):  # of each four: 2+2, 3+1, 4
        found = neighbours(pairs, places, 1.0, 42, limits(turns=turns, max_words=5_000))
        assert len(found) == n
        up = {b.id: FollowUp(pair_id=b.id, before_id=a.id, question="And then?") for a, b in found}
        both = join_follow_ups(pairs, up, limits(turns=turns, max_words=5_000))
        assert {each.ord for each in both} == set(range(min(turns, 4)))
        assert len({each.thread_id for each in both}) == 12 - n
        # Without the first of four, the others go on from the second.
        left = join_follow_ups(pairs[1:4], up, limits(turns=turns, max_words=5_000))
        assert left[0] == pairs[1]
        # Fewer exchanges than were asked for: what is too much begins anew, with its own question.
        cut = join_follow_ups(pairs, up, limits(turns=2, max_words=5_000))
        assert {each.ord for each in cut} == {0, 1}
        assert all((each.ord == 0) == (each.question != "And then?") for each in cut)
    words = sum(len(f"{each.question} {each.answer}".split()) for each in pairs[:3])
    assert len(neighbours(pairs[:4], places, 1.0, 42, limits(turns=5, max_words=words))) == 2
    assert len(neighbours(pairs[:4], places, 1.0, 42, limits(turns=5, max_words=words - 1))) == 2


def test_a_follow_up_may_lean_on_the_reply_and_may_not_leak() -> None:
    (first, later), _ = _pairs(2)
    task = FollowUpTask.load("en", "Ada Quill", "m", InterviewSettings())
    item = task.item(first, later)
    assert item == task.item(first, later)
    assert first.question in item.messages[1]["content"]
    assert not any("$" in message["content"] for message in item.messages)
    leak = " ".join(later.answer.split()[:12]) + "?"
    named = ("What would Ada Quill say to that?", "How did you get on with Mr. Quill?")
    texts = (leak, *named, "That sounds hard; how did it go on?")
    reply = Reply(
        is_answer=True,
        confidence=1,
        questions=tuple(Suggestion(type="follow-up", text=text) for text in texts),
    )
    rules = CurateSettings.model_validate({})
    assert task.best([(reply, later, item)], rules) == [texts[-1]]


@pytest.mark.medium
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
        told = re.search(r"(\d+) of \1 neighbours joined into (\d+) conv", done.stderr)
        assert told is not None
        n, n_talks = map(int, told.groups())
        assert len(followed) == n > n_talks
        assert all("mean to you as a child?" in user for user in followed)
        again = memoirist("curate")
        assert "nothing to do" in again.stderr
        # Users see them before anything is composed; in fewer exchanges nothing is asked for.
        seen = "SELECT ord, count(*)::INT AS n FROM kept GROUP BY ord ORDER BY ord"
        there_are = json.loads(memoirist("sql", seen, "--format", "json").stdout)
        assert [row["ord"] for row in there_are] == [0, 1, 2]
        assert [row["n"] for row in there_are] == [12 - n, n_talks, n - n_talks]
        own = "SELECT question, own_question FROM pairs WHERE ord > 0"
        for row in json.loads(memoirist("sql", own, "--format", "json").stdout):
            assert row["question"].startswith("Then the ")
            assert row["own_question"].endswith("mean to you as a child?")
        assert len(followed) == n
    assert memoirist("compose").returncode == 0
    _leave_out_one(tmp_path)
    assert "nothing to do" in memoirist("curate").stderr
    assert memoirist("export", "-o", "out.jsonl").returncode == 0
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text("utf-8").splitlines()]
    talks = [row["messages"] for row in rows if len(row["messages"]) == 7]
    assert talks
    _talks_go_on(talks)
    _they_stand_alone_again(memoirist, tmp_path)


def _they_stand_alone_again(memoirist: Command, folder: Path) -> None:
    """Compose without the share."""
    assert memoirist("curate", "--set", "interview.follow_up_share=0.0").returncode == 0
    assert memoirist("compose").returncode == 0
    assert memoirist("export", "-o", "alone.jsonl").returncode == 0
    assert "Then the " not in (folder / "alone.jsonl").read_text("utf-8")


def _leave_out_one(folder: Path) -> None:
    """Leave a joined pair out of the dataset, as `compose` does with what is too close to test."""
    store = Store(folder / "workspace" / "memoirist.duckdb")
    left_out = Verdict(
        subject_id=str(store.value("SELECT before_id FROM follow_ups ORDER BY 1 LIMIT 1")),
        subject="pairs",
        rule="too_close_to_test",
        keep=False,
        reason="",
        created_at=datetime(2026, 11, 21, tzinfo=UTC),
        step="compose",
    )
    with store.writing() as tx:
        tx.upsert([left_out])


def _talks_go_on(talks: list[Any]) -> None:
    for talk in talks:
        assert [m["role"] for m in talk] == ["system", *["user", "assistant"] * 3]
        assert talk[1]["content"].endswith("mean to you as a child?")
        for asked, answer in ((talk[3], talk[4]), (talk[5], talk[6])):
            assert asked["content"].startswith("Then the ")
            mark = asked["content"].split()[2].strip(",")
            assert f"first saw the {mark} " in answer["content"]
