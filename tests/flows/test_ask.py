"""Paid once, lost never: the replies kept, the choice among them, the limits and the prices."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from memoirist.data.curation.selection import Choice, choose
from memoirist.data.schema.errors import EndpointError
from memoirist.data.schema.records import Candidate, Passage, Request, content_id
from memoirist.data.store.store import Store
from memoirist.data.text.words import words
from memoirist.flows.recipe import load
from memoirist.flows.runtime.context import Context
from memoirist.flows.runtime.report import Report
from memoirist.flows.runtime.workspace import Workspace
from memoirist.flows.steps.ask import ask_questions
from memoirist.flows.steps.curate import curate_pairs
from tests.conftest import ROOT, environment, run
from tests.support.openai_server import OpenAIServer, Script
from tests.support.rows import NOW, document, source
from tests.support.stores import empty_store

_TEXT = (
    "I had been working in the garden since early morning when my neighbour mark-{n} came by with "
    "news that changed everything we had planned for that summer. We sat down on the wall, and he "
    "told me slowly, choosing each word, that the mill would close before winter came. I remember "
    "that I looked at the beans and thought about who would eat them. That was day {n}."
)
_MARK = re.compile(r"mark-\d+")


def passage(n: int, ord_: int | None = None, **changes: Any) -> Passage:
    text = _TEXT.format(n=n)
    given = {
        "id": content_id("ledger", n),
        "source_id": source().id,
        "document_id": document().id,
        "ord": n if ord_ is None else ord_,
        "group_id": f"g{n // 8}",
        "text": text,
        "n_words": len(text.split()),
        "context": f"What came before number {n}.",
    }
    return Passage(**{**given, **changes})


def put(store: Store, passages: list[Passage]) -> None:
    """Make these the passages of the workspace."""
    with store.writing() as tx:
        tx.upsert([source()])
        tx.upsert([replace(document(), lang="en")])
        tx.execute("DELETE FROM cut_passages")
        tx.upsert(passages)


def context_for(folder: Path, server: OpenAIServer, **changes: Any) -> Context:
    wanted = {
        "persona.name": "Ada Quill",
        "persona.lang": "en",
        "interview.base_url": server.base_url,
        "interview.model": "interviewer",
        "interview.max_concurrency": 32,
        "interview.max_backoff_seconds": 0.05,
        **{key.replace("__", "."): value for key, value in changes.items()},
    }
    return Context(Workspace(folder / "ws"), load(None, wanted), Report(quiet=True))


def ask(folder: Path, server: OpenAIServer, **changes: Any) -> int:
    """Ask what is due; return the requests that it took."""
    before = server.seen.requests
    ask_questions(context_for(folder, server, **changes))
    return server.seen.requests - before


def rows_are_right(store: Store) -> int:
    """Check that each question carries its passage's mark; return the passages with one."""
    rows = store.rows(
        "SELECT q.text AS question, p.text, p.id FROM questions q"
        " JOIN passages p ON p.id = q.passage_id WHERE q.origin = 'generated'"
    )
    for row in rows:
        assert _MARK.findall(row["question"]) == _MARK.findall(row["text"])
    return len({row["id"] for row in rows})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return empty_store(tmp_path / "ws" / "memoirist.duckdb")


def test_what_is_added_is_asked_and_nothing_else(tmp_path: Path, store: Store) -> None:
    old, new = [passage(n) for n in range(100)], [passage(n) for n in range(100, 120)]
    with OpenAIServer() as server:
        put(store, old)
        assert ask(tmp_path, server) == 100
        assert rows_are_right(store) == 100
        assert ask(tmp_path, server) == 0
        put(store, old + new[:10])
        assert ask(tmp_path, server) == 10
        # Inserted before all others and scattered among them: places and contexts change.
        scattered = [*new[10:15], *old[:50], new[15], *old[50:], *new[16:], *new[:10]]
        moved = [replace(p, ord=n, context=f"Now {n}.") for n, p in enumerate(scattered)]
        put(store, moved)
        assert ask(tmp_path, server) == 10
        assert rows_are_right(store) == 120
        edited = replace(moved[30], text=moved[30].text + " It rained.", id="edited")
        put(store, [*moved[:30], edited, *moved[31:]])
        assert ask(tmp_path, server) == 1
        assert rows_are_right(store) == 120


def test_a_source_added_again_costs_nothing(tmp_path: Path, store: Store) -> None:
    passages = [passage(n) for n in range(12)]
    with OpenAIServer() as server:
        put(store, passages)
        assert ask(tmp_path, server) == 12
        put(store, [])
        assert ask(tmp_path, server) == 0
        put(store, [replace(p, id=content_id("again", p.id)) for p in passages])
        assert ask(tmp_path, server) == 0
        assert rows_are_right(store) == 12
        # The same text twice in one run is asked about once.
        twice = passage(50), passage(50, id="copy")
        put(store, [*passages, *twice])
        assert ask(tmp_path, server) == 1
        assert rows_are_right(store) == 14


def test_settings_that_change_no_answer_ask_nothing_again(tmp_path: Path, store: Store) -> None:
    with OpenAIServer() as server:
        put(store, [passage(n) for n in range(8)])
        assert ask(tmp_path, server) == 8
        for key, value in (
            ("max_reply_tokens", 2048),
            ("max_attempts", 9),
            ("request_timeout_seconds", 9.0),
            ("max_concurrency", 2),
            ("seed", 7),
        ):
            assert ask(tmp_path, server, **{f"interview__{key}": value}) == 0, key
        assert ask(tmp_path, server, persona__name="Ben Hale") == 8
        assert ask(tmp_path, server, interview__temperature=0.1) == 8
        assert ask(tmp_path, server) == 0


def test_what_failed_is_repeated_and_nothing_else(tmp_path: Path, store: Store) -> None:
    put(store, [passage(n) for n in range(30)])
    with OpenAIServer(Script(faults=["cut", "", ""] * 5)) as server:
        ask(tmp_path, server, interview__max_repairs=0)
        lost = store.value("SELECT count(*) FROM requests WHERE status = 'unusable'")
        assert 0 < lost < 20
        verdicts = store.value(
            "SELECT count(*) FROM verdicts WHERE subject = 'passages' AND rule = 'unusable_reply'"
        )
        assert verdicts == lost
        # Under the same limits it would only be paid for again.
        assert ask(tmp_path, server, interview__max_repairs=0) == 0
    with OpenAIServer() as server:
        more = {"interview__max_repairs": 0, "interview__max_reply_tokens": 2048}
        assert ask(tmp_path, server, **more) == lost
        assert rows_are_right(store) == 30
        assert store.value("SELECT count(*) FROM verdicts WHERE rule = 'unusable_reply'") == 0
        # What the failures cost is not forgotten.
        assert store.value("SELECT count(*) FROM requests") == 30 + lost


def test_no_reply_is_asked_again_without_any_change(tmp_path: Path, store: Store) -> None:
    put(store, [passage(n) for n in range(4)])
    with OpenAIServer(Script(always="500")) as server:
        with pytest.raises(EndpointError, match="no question: none of 4 requests"):
            ask(tmp_path, server, interview__max_attempts=2)
        assert server.seen.requests == 8
    assert store.value("SELECT count(*) FROM verdicts WHERE rule = 'request_failed'") == 4
    with OpenAIServer() as server:
        assert ask(tmp_path, server, interview__max_attempts=2) == 4
    assert store.value("SELECT count(*) FROM verdicts WHERE rule = 'request_failed'") == 0
    assert rows_are_right(store) == 4


def questions(store: Store) -> list[tuple[Any, ...]]:
    return store.fetch(
        "SELECT passage_id, nth, text FROM questions WHERE origin = 'generated' ORDER BY ALL"
    ).rows


def test_the_choice_hangs_on_no_order(tmp_path: Path) -> None:
    chosen = []
    for name, many in (("a", 32), ("b", 1)):
        folder = tmp_path / name
        store = empty_store(folder / "ws" / "memoirist.duckdb")
        put(store, [passage(n, ord_=n if name == "a" else 200 - n) for n in range(120)])
        with OpenAIServer(Script(latency_seconds=0.001)) as server:
            ask(folder, server, interview__max_concurrency=many)
        chosen.append(questions(store))
    assert chosen[0] == chosen[1]


def _chosen_by(
    store: Store,
    seed: int,
    opener_of: Callable[[int, int], str],
    shape_of: Callable[[int, int], tuple[int, float]] = lambda n, k: (1, 0.8),
) -> set[str]:
    """Choose among three questions each of 100 passages, by opening, and length and score."""
    rows = [
        Candidate(id=f"c{n}-{k}", key=f"k{n}", ord=k, text=f"{n} {k}?", type=f"type {k}",
                  length_class=shape_of(n, k)[0], opener=opener_of(n, k), score=shape_of(n, k)[1])
        for n in range(100) for k in range(3)
    ]  # fmt: skip
    requests = [
        Request(id=f"k{n}", key=f"k{n}", passage_hash=f"h{n}", purpose="interview", model="m",
                status="ok", attempts=1, created_at=NOW)
        for n in range(100)
    ]  # fmt: skip
    wanted = {
        "passage_id": [f"p{n}" for n in range(100)],
        "key": [f"k{n}" for n in range(100)],
        "passage_hash": [f"h{n}" for n in range(100)],
        "source_id": ["s"] * 100,
    }
    with store.writing() as tx:
        tx.upsert(rows)
        tx.upsert(requests)
        mix = (0.3, 0.5, 0.2)
        choice = Choice(seed=seed, second_share=0.2, opener_share=0.08, length_shares=mix)
        choose(tx, wanted, choice, NOW)
        return {text for (text,) in tx.fetch("SELECT text FROM asked_questions")}


def test_ties_fall_by_the_seed(store: Store) -> None:
    def opener_of(n: int, k: int) -> str:
        return f"opening {(n * 7 + k) % 40}"

    first = _chosen_by(store, 1, opener_of)
    assert _chosen_by(store, 2, opener_of) != first
    assert _chosen_by(store, 1, opener_of) == first
    assert len(first) == 120


@pytest.mark.parametrize(
    ("shape_of", "mix"),
    [
        # Each passage has one of each length, of one worth, then the short ones a little better.
        (lambda n, k: (k + 1, 0.8), [30, 50, 20]),
        (lambda n, k: (k + 1, 0.8 - 0.15 * k), [30, 50, 20]),
        # The longer ones are far worse, or nobody has any: the others stay as they are.
        (lambda n, k: (k + 1, 0.5 if k else 0.9), [100, 0, 0]),
        (lambda n, k: (1, 0.8), [100, 0, 0]),
    ],
)
def test_lengths_come_near_their_shares_over_all(
    store: Store, shape_of: Callable[[int, int], tuple[int, float]], mix: list[int]
) -> None:
    _chosen_by(store, 1, lambda n, k: f"opening {n} {k}", shape_of)
    counts = store.rows(
        "SELECT length_class, count(*) AS n FROM asked_questions q JOIN candidates c USING (text)"
        " WHERE nth = 1 GROUP BY length_class"
    )
    found = {row["length_class"]: row["n"] for row in counts}
    assert [found.get(length, 0) for length in (1, 2, 3)] == mix


def test_a_worn_opening_stays_where_there_is_no_other(store: Store) -> None:
    def opener_of(n: int, k: int) -> str:
        return "what was" if n < 50 or k == 0 else f"opening {(n + k) % 30}"

    _chosen_by(store, 1, opener_of)
    worn = "SELECT count(*) FROM asked_questions q JOIN candidates c USING (text) WHERE {}"
    # Fifty passages have nothing else; none of the others adds to them, and all are asked.
    assert store.value(worn.format("opener = 'what was'")) == 50
    assert store.value("SELECT count(DISTINCT passage_id) FROM asked_questions") == 100


def test_openings_are_capped_and_some_passages_get_a_second_question(
    tmp_path: Path, store: Store
) -> None:
    n_passages = 200
    put(store, [passage(n) for n in range(n_passages)])
    with OpenAIServer() as server:
        ask(tmp_path, server)
    found = questions(store)
    openers = Counter(" ".join(words(text)[:2]) for _, _, text in found)
    assert max(openers.values()) <= 0.08 * len(found)
    seconds = [passage_id for passage_id, nth, _ in found if nth == 2]
    assert len(found) == n_passages + len(seconds)
    assert 0.1 * n_passages < len(seconds) <= 0.2 * n_passages
    # Every question that came back is asked or has a verdict, and the numbers add up.
    (row,) = store.rows("SELECT * FROM coverage WHERE subject = 'candidates'")
    assert row["found"] == store.value("SELECT count(*) FROM candidates") == 3 * n_passages
    assert row["kept"] == len(found)
    assert row["dropped"] == row["found"] - row["kept"]


def test_second_questions_become_pairs_of_their_own(tmp_path: Path, store: Store) -> None:
    put(store, [passage(n) for n in range(40)])
    with OpenAIServer() as server:
        ask(tmp_path, server)
        curate_pairs(context_for(tmp_path, server))
    rows = store.rows("SELECT passage_id, count(*) AS n, count(DISTINCT thread_id) AS threads"
                      " FROM pairs GROUP BY passage_id")  # fmt: skip
    assert {row["n"] for row in rows} == {1, 2}
    assert all(row["n"] == row["threads"] for row in rows)
    assert len(rows) == 40


def test_stricter_rules_judge_what_came_back_without_a_request(
    tmp_path: Path, store: Store
) -> None:
    put(store, [passage(n) for n in range(20)])
    with OpenAIServer() as server:
        ask(tmp_path, server)
        assert store.value("SELECT count(*) FROM verdicts WHERE rule = 'question_short'") == 0
        assert ask(tmp_path, server, curate__rejects={"min_words": 9}) == 0
        refused = store.value("SELECT count(*) FROM candidates WHERE rule = 'question_short'")
        assert refused > 20
        without = (
            "SELECT count(*) FROM verdicts WHERE subject = 'passages' AND rule = 'question_short'"
        )
        assert rows_are_right(store) + store.value(without) == 20
        assert ask(tmp_path, server) == 0
        assert rows_are_right(store) == 20


@pytest.mark.medium
def test_a_killed_run_repeats_at_most_the_last_second(tmp_path: Path, store: Store) -> None:
    n_passages, in_flight, latency = 200, 16, 0.3
    put(store, [passage(n) for n in range(n_passages)])
    with OpenAIServer(Script(latency_seconds=latency)) as server:
        asking = [
            "ask", "-w", str(tmp_path / "ws"), "--base-url", server.base_url,
            "--model", "interviewer", "--max-concurrency", str(in_flight),
            "--set", "persona.lang=en",
        ]  # fmt: skip
        command = [sys.executable, "-m", "memoirist.flows.cli", *asking]
        child = subprocess.Popen(command, cwd=ROOT, env=environment(), stderr=subprocess.DEVNULL)
        while server.seen.requests < n_passages // 2 and child.poll() is None:
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
        child.wait(10)
        half = server.seen.requests
        assert n_passages // 2 <= half < n_passages
        assert run(tmp_path, *asking).returncode == 0
        # What was in flight, and the replies of one second.
        assert server.seen.requests - n_passages <= in_flight + in_flight / latency
    assert rows_are_right(store) == n_passages
    assert store.value("SELECT count(*) FROM requests WHERE status = 'ok'") == n_passages
