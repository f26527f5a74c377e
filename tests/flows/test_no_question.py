"""Endpoints that give no usable reply: the causes by count, the next step of each, exit code 1."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from memoirist.data.schema.errors import EndpointError
from memoirist.data.store.store import Store
from memoirist.flows.runtime.context import Context
from memoirist.flows.steps.ask import ask_questions
from memoirist.flows.steps.curate import curate_pairs
from memoirist.flows.steps.follow_up import follow_pairs
from memoirist.flows.steps.judge import judge_pairs
from memoirist.flows.steps.polish import polish_answers
from tests.conftest import run
from tests.flows.test_ask import ask, context_for, passage, put, rows_are_right
from tests.support.openai_server import OpenAIServer, Script
from tests.support.stores import empty_store

_CAUSES = [
    ("cut", "cut_off", "cut off at the token limit; raise interview.max_reply_tokens to 2048"),
    ("thoughts_cut", "cut_off_thinking", "raise interview.max_reply_tokens to 8192, or turn"),
    ("open_think", "cut_off_thinking", "thoughts used up the token limit"),
    ("no_choice_thinking", "cut_off_thinking", "thoughts used up the token limit"),
    ("thoughts", "thoughts_only", "thoughts but no answer; turn thinking off"),
    ("no_choices", "no_choice", "has no choices; read the server's or the provider's log"),
    ("refusal", "refused", "the model refused; name another --model, or change"),
    ("filter", "filtered", "content filter stopped the reply; loosen"),
    ("empty", "empty", "the reply is empty; check in the server's log"),
    ("chatter", "unreadable", "not the JSON that was asked for; name another --model"),
    ("schema", "unreadable", "not the JSON that was asked for; name another --model"),
    ("500", "server", "answered with an error; read the server's log"),
    ("429", "busy", "the server was busy; run the same command again"),
    ("malformed", "broken", "broke off; run the same command again"),
    ("broken_off", "server", "answered with an error; read the server's log"),
    ("context", "too_long", "too long for the model; name a --model with a longer context"),
    ("not_answer", None, "not an answer; read the passage"),
    ("leak", None, "question run; name another --model or prompt"),
]
FEW = {"interview__max_attempts": 2, "interview__max_repairs": 1}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return empty_store(tmp_path / "ws" / "memoirist.duckdb")


def ask_by_command(folder: Path, server: OpenAIServer, *more: str) -> tuple[int, str]:
    """Return the exit code of `memoirist ask`, and what it prints."""
    result = run(
        folder, "ask", "-w", str(folder / "ws"), "--base-url", server.base_url, "--model",
        "interviewer", "--set", "persona.lang=en", "--set", "interview.max_repairs=1",
        "--set", "interview.max_attempts=2", "--set", "interview.max_backoff_seconds=0.05", *more,
    )  # fmt: skip
    return result.returncode, result.stderr


@pytest.mark.parametrize(("fault", "cause", "line"), _CAUSES)
def test_no_question_at_all_is_an_error_that_names_the_cause(
    tmp_path: Path, store: Store, fault: str, cause: str | None, line: str
) -> None:
    put(store, [passage(n) for n in range(3)])
    with OpenAIServer(Script(always=fault, retry_after_seconds=0.01)) as server:
        code, printed = ask_by_command(tmp_path, server)
    assert code == 1
    assert f"warning  3 of 3: {'' if cause is None else 'the '}" in printed.replace("no reply", "")
    assert line in printed
    assert "no question: none of 3 requests got a usable reply" in printed
    assert "Traceback" not in printed
    if cause is not None:
        assert [row["cause"] for row in store.rows("SELECT cause FROM requests")] == [cause] * 3
    # The next run probes the server again, which may be another by then.
    assert store.value("SELECT count(*) FROM endpoints") == 0
    steps = store.rows("SELECT next_step FROM verdicts WHERE subject = 'passages' AND NOT keep")
    assert len(steps) == 3
    assert all(row["next_step"] in printed for row in steps)


def test_a_mended_endpoint_is_asked_for_what_is_missing(tmp_path: Path, store: Store) -> None:
    put(store, [passage(n) for n in range(4)])
    with OpenAIServer(Script(faults=["refusal", "refusal", "no_choices", "filter"])) as server:
        server.script.always = "empty"
        assert ask_by_command(tmp_path, server)[0] == 1
        # The same again tells the same, and a server that is mended needs no other settings.
        code, printed = ask_by_command(tmp_path, server)
        assert (code, "4 of 4: the reply is empty" in printed) == (1, True)
        server.script.always, before = None, server.seen.requests
        server._faults.clear()
        code, printed = ask_by_command(tmp_path, server)
        assert (code, server.seen.requests - before) == (0, 4)
        assert "of 4:" not in printed
        assert rows_are_right(store) == 4
        # Nothing paid is lost, the failures neither.
        assert store.value("SELECT count(*) FROM requests WHERE status = 'unusable'") == 8
        assert ask_by_command(tmp_path, server)[0] == 0
        assert server.seen.requests - before == 4


def test_causes_are_counted_and_notes_where_some_questions_are_won(
    tmp_path: Path, store: Store
) -> None:
    put(store, [passage(n) for n in range(6)])
    one = ["--set", "interview.max_concurrency=1", "--set", "interview.max_repairs=0"]
    faults = ["cut", "refusal", "cut", "", "filter", "not_answer"]
    with OpenAIServer(Script(faults=faults)) as server:
        code, printed = ask_by_command(tmp_path, server, *one)
        assert code == 0
        lines = [line.split(";")[0].strip() for line in printed.splitlines() if " of 6: " in line]
        assert lines == [
            "2 of 6: the reply was cut off at the token limit",
            "1 of 6: the server's content filter stopped the reply",
            "1 of 6: the model refused",
        ]
        assert "warning" not in printed
        more = [*one, "--set", "interview.max_reply_tokens=2048"]
        code, printed = ask_by_command(tmp_path, server, *more)
        assert (code, " of 6: " in printed) == (0, False)
        assert server.seen.requests == 6 + 4
    assert rows_are_right(store) == 5


def test_another_switch_of_the_model_is_another_try(tmp_path: Path, store: Store) -> None:
    """What failed with thoughts is sent again where extra_body turns them off."""
    put(store, [passage(n) for n in range(3)])
    with OpenAIServer(Script(faults=["", "thoughts_cut", "thoughts_cut"])) as server:
        few = {**FEW, "interview__max_repairs": 0, "interview__max_concurrency": 1}
        assert ask(tmp_path, server, **few) == 3
        assert ask(tmp_path, server, **few) == 0
        body = {"chat_template_kwargs": {"enable_thinking": False}}
        assert ask(tmp_path, server, **few, interview__extra_body=body) == 2
        assert server.seen.bodies[-1]["chat_template_kwargs"] == {"enable_thinking": False}
    assert rows_are_right(store) == 3


def test_an_answer_among_the_thoughts_is_read(tmp_path: Path, store: Store) -> None:
    put(store, [passage(n) for n in range(3)])
    with OpenAIServer(Script(always="reasoned")) as server:
        assert ask(tmp_path, server) == 3
    assert rows_are_right(store) == 3


@pytest.mark.parametrize(
    ("changes", "noun"),
    [
        ({"interview__answers": "polished"}, "polished answer"),
        ({"curate__judge": True}, "grade"),
        ({"interview__follow_up_share": 1.0}, "follow-up question"),
    ],
)
def test_the_other_steps_tell_the_same(
    tmp_path: Path, store: Store, changes: dict[str, Any], noun: str
) -> None:
    put(store, [passage(n) for n in range(40)])

    def steps(server: OpenAIServer) -> Context:
        context = context_for(tmp_path, server, **changes, **FEW)
        for step in (ask_questions, polish_answers, curate_pairs, judge_pairs, follow_pairs):
            step(context)
        return context

    with OpenAIServer() as server:
        ask_questions(context_for(tmp_path, server, **FEW))
        server.script.always = "cut"
        with pytest.raises(EndpointError, match=f"no {noun}: none of"):
            steps(server)
        # The verdicts are written nevertheless, with the step that fits.
        limit = 2 * (2048 if noun == "polished answer" else 1024)
        hint = f"raise interview.max_reply_tokens to {limit}"
        failed = store.rows("SELECT next_step FROM requests WHERE status = 'unusable'")
        assert failed
        assert {row["next_step"] for row in failed} == {hint}
        server.script.always = None
        changes["interview__max_reply_tokens"] = 4096
        steps(server)


def test_questions_of_the_sources_let_a_build_go_on(tmp_path: Path, store: Store) -> None:
    """A model that finds no passage worth a question is no fault of the endpoint."""
    put(store, [passage(n) for n in range(2)])
    with store.writing() as tx:
        tx.execute(
            "INSERT INTO asked_questions (id, passage_id, text, type, origin)"
            " VALUES ('q', 'elsewhere', 'And the mill?', 'story', 'spoken')"
        )
    with OpenAIServer(Script(always="not_answer")) as server:
        assert ask(tmp_path, server) == 2
        put(store, [passage(n) for n in range(3)])
        server.script.always = "refusal"
        with pytest.raises(EndpointError, match="no question: none of"):
            ask(tmp_path, server)


def test_what_a_model_wants_is_remembered_for_the_next_run(tmp_path: Path, store: Store) -> None:
    def wants(body: Mapping[str, Any]) -> str | None:
        if body["messages"][0]["role"] == "system":
            return "System role not supported"
        return None if body.get("enable_thinking") is False else "thoughts_cut"

    put(store, [passage(n) for n in range(4)])
    with OpenAIServer(Script(wants=wants)) as server:
        code, printed = ask_by_command(tmp_path, server)
        assert code == 0
        assert (
            "interviewer needs: no system role, thinking turned off by enable_thinking" in printed
        )
        assert server.seen.requests == 4
        put(store, [passage(n) for n in range(8)])
        n_probes = server.seen.probes
        code, printed = ask_by_command(tmp_path, server)
        assert (code, server.seen.requests, server.seen.probes) == (0, 8, n_probes)
        assert "wants" not in printed
        # Found out within a run, it is remembered too.
        put(store, [passage(n) for n in range(12)])
        server.script.wants = lambda body: (
            wants(body) or (None if body.get("stream") else "this model only supports streaming")
        )
        code, printed = ask_by_command(tmp_path, server, "--max-concurrency", "1")
        assert (code, server.seen.requests) == (0, 8 + 5)
        assert "streams only" in printed
        put(store, [passage(n) for n in range(14)])
        assert ask_by_command(tmp_path, server)[0] == 0
        assert (server.seen.requests, server.seen.probes) == (8 + 5 + 2, n_probes)
    assert rows_are_right(store) == 14
    assert store.value("SELECT count(*) FROM endpoints") == 1
