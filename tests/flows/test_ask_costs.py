"""What an interview costs: prices, limits that hold, the plan beforehand, and Ctrl-C."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from memoirist.data.schema.errors import RecipeError
from memoirist.data.store.store import Store
from memoirist.flows.planning.plan import cost_rows, send_pilot
from memoirist.generators.client.endpoint import Endpoint
from memoirist.generators.client.pricing import Price, estimate_tokens, price_of
from memoirist.generators.client.responses import Completion
from memoirist.generators.client.session import Budget, Session
from memoirist.generators.settings import InterviewSettings
from tests.conftest import ROOT, environment, run
from tests.flows.test_ask import ask, context_for, passage, put, rows_are_right
from tests.support.openai_server import OpenAIServer, Script
from tests.support.stores import empty_store

PRICES = {"interviewer": {"input": 1.0, "output": 10.0}}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return empty_store(tmp_path / "ws" / "memoirist.duckdb")


@pytest.mark.parametrize(
    "name",
    ["gpt-4o-mini", "gpt-4o-mini-2024-07-18", "openai/gpt-4o-mini"],
)
def test_a_known_model_has_a_price_with_a_date(name: str) -> None:
    priced = price_of(name, {})
    assert priced is not None
    assert priced.price.usd(1_000_000, 1_000_000) == pytest.approx(0.75)
    assert "check your provider" in priced.basis
    assert re.search(r"\d{4}-\d{2}", priced.basis)


def test_every_bundled_price_is_of_a_dated_list() -> None:
    for name in ("claude-sonnet-5-5", "gpt-5-mini", "gemini-2.5-flash", "deepseek-flash"):
        priced = price_of(name, {})
        assert priced is not None
        assert 0 < priced.price.input < priced.price.output
        assert re.search(r"list of 2026-\d\d", priced.basis)
    assert price_of("claude-haiku-4-5-20251001", {}) == price_of("claude-haiku-4-5", {})
    assert price_of("deepseek/deepseek-flash", {}) == price_of("deepseek-flash", {})


def test_the_recipe_has_the_last_word_on_prices() -> None:
    own = {"gpt-4o": Price(input=1, output=2), "mine": Price(input=3, output=4)}
    assert price_of("gpt-4o", own) is not None
    assert price_of("gpt-4o", own).price.input == 1  # type: ignore[union-attr]
    assert price_of("mine", own).basis == "interview.prices"  # type: ignore[union-attr]
    assert price_of("mine", {}) is None


def session_for(model: str = "gpt-4o", **limits: Any) -> Session:
    settings = InterviewSettings(**limits)
    endpoint = Endpoint(base_url="http://127.0.0.1:9/v1", model=model, structured="text")
    now = datetime(2026, 11, 1, tzinfo=UTC)
    return Session(settings=settings, endpoint=endpoint, budget=Budget(settings), now=now)


def test_tokens_that_nobody_counted_are_estimated() -> None:
    uncounted = Completion(
        text="word " * 40, fault=None, attempts=1, seconds=1, tokens_in=None, tokens_out=None
    )
    spent = session_for().reply_spend(uncounted, estimate_tokens("x" * 4000))
    assert spent.tokens_in == pytest.approx(1000, abs=5)
    assert spent.tokens_out == pytest.approx(50, abs=2)
    assert spent.usd == pytest.approx((spent.tokens_in * 2.5 + spent.tokens_out * 10) / 1e6)
    assert estimate_tokens("我" * 100) == pytest.approx(75, abs=2)


@pytest.mark.parametrize("counted", [True, False])
def test_what_nobody_counted_is_marked(tmp_path: Path, store: Store, *, counted: bool) -> None:
    put(store, [passage(n) for n in range(4)])
    with OpenAIServer(Script(no_usage=not counted)) as server:
        ask(tmp_path, server)
    assert store.value("SELECT bool_and(estimated) FROM requests") is not counted
    assert store.value("SELECT min(tokens_in) FROM requests") > 100


def test_what_was_paid_stands_in_the_tables(tmp_path: Path, store: Store) -> None:
    put(store, [passage(n) for n in range(12)])
    with OpenAIServer() as server:
        ask(tmp_path, server, interview__prices=PRICES)
    row = store.rows(
        "SELECT sum(cost_usd) AS usd, sum(tokens_in)::BIGINT AS i, sum(tokens_out)::BIGINT AS o"
        " FROM requests"
    )[0]
    assert row["usd"] == pytest.approx((row["i"] * 1.0 + row["o"] * 10.0) / 1e6)
    # A second question costs nothing more.
    assert store.value("SELECT sum(cost_usd) FROM questions") == pytest.approx(row["usd"])
    (spent,) = store.rows("SELECT * FROM spent")
    assert spent["requests"] == spent["attempts"] == 12
    assert spent["cost_usd"] == pytest.approx(row["usd"])
    assert not spent["estimated"]
    assert store.value("SELECT count(DISTINCT run_id) FROM requests") == 1


def test_an_unknown_price_is_no_price(tmp_path: Path, store: Store) -> None:
    put(store, [passage(n) for n in range(2)])
    with OpenAIServer() as server:
        ask(tmp_path, server)
        assert store.value("SELECT count(*) FROM requests WHERE cost_usd IS NULL") == 2
        put(store, [passage(n) for n in range(4)])
        with pytest.raises(
            RecipeError,
            match=r"unknown price for model 'interviewer', which interview.budget_usd needs",
        ):
            ask(tmp_path, server, interview__budget_usd=1.0)


@pytest.mark.parametrize("fault", [None, "500"])
def test_no_more_requests_are_sent_than_allowed(
    tmp_path: Path, store: Store, fault: str | None
) -> None:
    put(store, [passage(n) for n in range(60)])
    faults = ["", fault] * 12 if fault else []
    with OpenAIServer(Script(latency_seconds=0.01, faults=faults)) as server:
        assert ask(tmp_path, server, interview__max_requests=25) == 25
        answered = store.value("SELECT count(*) FROM requests WHERE status = 'ok'")
        assert answered == server.seen.statuses[200] - server.seen.probes
        assert rows_are_right(store) == answered
        # The next run goes on; 0 takes the limit out.
        assert ask(tmp_path, server, interview__max_requests=0) == 60 - answered
    assert rows_are_right(store) == 60


@pytest.mark.parametrize(
    ("limit", "spent"),
    [
        ({"interview__max_tokens": 30_000}, "sum(tokens_in + tokens_out)"),
        ({"interview__budget_usd": 0.05}, "sum(cost_usd)"),
    ],
)
def test_tokens_and_dollars_stay_within_their_limit(
    tmp_path: Path, store: Store, limit: dict[str, Any], spent: str
) -> None:
    put(store, [passage(n) for n in range(120)])
    with OpenAIServer(Script(latency_seconds=0.01)) as server:
        sent = ask(tmp_path, server, interview__prices=PRICES, **limit)
    (most,) = limit.values()
    total = store.value(f"SELECT {spent} FROM requests")
    assert 0.7 * most < total <= most
    assert sent == store.value("SELECT count(*) FROM requests WHERE status = 'ok'") < 120
    assert rows_are_right(store) == sent


def test_a_limit_below_one_request_sends_nothing() -> None:
    def reserve(**limits: Any) -> tuple[bool, str]:
        line = session_for(**limits)
        return asyncio.run(line.budget.reserve(line.highest_spend(1000))), line.budget.stopped

    room, stopped = reserve(max_tokens=1500)
    assert not room
    assert stopped == "the limit interview.max_tokens = 1,500 is reached: 0 tokens in this run"
    room, stopped = reserve(budget_usd=0.001)
    assert not room
    assert "budget_usd = 0.001" in stopped
    assert reserve(max_tokens=100_000)[0]


def test_a_limit_is_told_in_one_line(tmp_path: Path, store: Store) -> None:
    put(store, [passage(n) for n in range(30)])
    with OpenAIServer() as server:
        done = run(tmp_path, *_asking(tmp_path, server), "--max-requests", "10")
        assert done.returncode == 0, done.stderr
        (line,) = [line for line in done.stderr.splitlines() if "max_requests" in line]
        assert "20 passages have no question yet" in line
        assert "unknown price for model 'interviewer'" in done.stderr
        # A limit that lets nothing through leaves work undone, and says so.
        done = run(
            tmp_path, *_asking(tmp_path, server), "--max-requests", "0", "--max-tokens", "10"
        )
        assert done.returncode == 0, done.stderr
    assert "20 passages have no question yet" in done.stderr
    assert "nothing to do" not in done.stderr


def test_what_is_not_asked_again_is_not_told_to_be(tmp_path: Path, store: Store) -> None:
    put(store, [passage(n) for n in range(6)])
    with OpenAIServer(Script(faults=["context", "context"])) as server:
        done = run(tmp_path, *_asking(tmp_path, server))
        assert done.returncode == 0, done.stderr
        assert store.value("SELECT count(*) FROM requests WHERE rule = 'request_failed'") == 2
        assert "2 request_failed" in done.stderr
        assert "again" not in done.stderr


def _asking(folder: Path, server: OpenAIServer) -> list[str]:
    return [
        "ask", "-w", str(folder / "ws"), "--base-url", server.base_url, "--model", "interviewer",
        "--max-concurrency", "8", "--set", "persona.lang=en",
    ]  # fmt: skip


def _command(folder: Path, server: OpenAIServer) -> list[str]:
    return [sys.executable, "-m", "memoirist.flows.cli", *_asking(folder, server)]


def _interrupted(folder: Path, server: OpenAIServer, *, times: int) -> tuple[int, str, float]:
    child = subprocess.Popen(
        _command(folder, server), cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True
    )
    while server.seen.requests < 24 and child.poll() is None:
        time.sleep(0.01)
    began = time.monotonic()
    for _ in range(times):
        child.send_signal(signal.SIGINT)
        time.sleep(0.2)
    _, told = child.communicate(timeout=30)
    return child.returncode, told, time.monotonic() - began


@pytest.mark.medium
def test_one_interrupt_finishes_what_is_in_flight(tmp_path: Path, store: Store) -> None:
    put(store, [passage(n) for n in range(200)])
    with OpenAIServer(Script(latency_seconds=0.3)) as server:
        code, told, _ = _interrupted(tmp_path, server, times=1)
        sent = server.seen.requests
    assert code == 130
    assert "waiting for 8 requests in flight" in told
    assert "Traceback" not in told
    assert sent < 60
    assert store.value("SELECT count(*) FROM requests WHERE status = 'ok'") == sent
    assert rows_are_right(store) == sent


@pytest.mark.medium
def test_a_second_interrupt_stops_at_once(tmp_path: Path, store: Store) -> None:
    put(store, [passage(n) for n in range(200)])
    with OpenAIServer(Script(latency_seconds=0.05)) as server:
        child = subprocess.Popen(
            _command(tmp_path, server), cwd=ROOT, env=environment(), stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        while server.seen.requests < 24 and child.poll() is None:
            time.sleep(0.01)
        server.script.latency_seconds = 25.0
        time.sleep(0.3)
        began = time.monotonic()
        child.send_signal(signal.SIGINT)
        time.sleep(0.3)
        child.send_signal(signal.SIGINT)
        _, told = child.communicate(timeout=20)
    assert time.monotonic() - began < 10
    assert child.returncode == 130
    assert "Traceback" not in told
    assert store.value("SELECT count(*) FROM requests WHERE status = 'ok'") >= 16


def test_the_plan_tells_tokens_price_and_time(tmp_path: Path, store: Store) -> None:
    put(store, [passage(n) for n in range(60)])
    with OpenAIServer(Script(latency_seconds=0.05)) as server:
        context = context_for(tmp_path, server, interview__prices=PRICES)
        before = "\n".join(text for _, text in cost_rows(context))
        assert server.seen.requests == server.seen.probes == 0
        assert "60 calls to 'interviewer'" in before
        assert "plan --pilot" in before
        send_pilot(context)
        assert server.seen.requests == 20
        planned = "\n".join(text for _, text in cost_rows(context))
        assert "40 calls" in planned
        assert "20 replies are there already" in planned
        assert re.search(r"time: about \d+ s with 32 requests in flight, from 20 replies", planned)
        low, high = (
            float(n)
            for n in re.search(r"\$([\d.]+) to \$([\d.]+)", planned).groups()  # type: ignore[union-attr]
        )
        tokens = [
            int(n.replace(",", ""))
            for n in re.search(
                r"tokens: ([\d,]+) to ([\d,]+) in, ([\d,]+) to ([\d,]+)", planned
            ).groups()  # type: ignore[union-attr]
        ]
        sum_of = "SELECT sum({}) FROM requests"
        paid = [store.value(sum_of.format(c)) for c in ("tokens_in", "tokens_out", "cost_usd")]
        assert ask(tmp_path, server, interview__prices=PRICES) == 40
    came = [store.value(sum_of.format(c)) for c in ("tokens_in", "tokens_out", "cost_usd")]
    came = [total - before for total, before in zip(came, paid, strict=True)]
    assert 0.98 * tokens[0] <= came[0] <= 1.02 * tokens[1]
    assert 0.98 * tokens[2] <= came[1] <= 1.02 * tokens[3]
    assert low - 0.006 <= came[2] <= high + 0.006
