"""What holds for the interview holds for polish, judge and follow-ups too."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from memoirist.data.schema.errors import EndpointError
from memoirist.data.store.store import Store
from memoirist.flows.planning.plan import cost_rows
from memoirist.flows.runtime.context import Context
from memoirist.flows.steps.ask import ask_questions
from memoirist.flows.steps.curate import curate_pairs
from memoirist.flows.steps.follow_up import follow_pairs
from memoirist.flows.steps.judge import judge_pairs
from memoirist.flows.steps.polish import polish_answers
from tests.conftest import ROOT, environment
from tests.flows.test_ask import context_for, passage, put
from tests.flows.test_ask_costs import PRICES
from tests.support.openai_server import OpenAIServer, Script

JUDGED = {"curate__judge": True}
N = 60
# The pairs that a judge sees: no near duplicates.
_JUDGED = (
    "SELECT count(*) FROM pairs WHERE id NOT IN"
    " (SELECT subject_id FROM verdicts WHERE step = 'dedupe' AND NOT keep)"
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "ws" / "memoirist.duckdb")
    put(store, [passage(n) for n in range(N)])
    return store


def run(folder: Path, server: OpenAIServer, **changes: Any) -> Context:
    """Ask, curate, judge and follow in one run, as a build does."""
    context = context_for(folder, server, **changes)
    for step in (ask_questions, polish_answers, curate_pairs, judge_pairs, follow_pairs):
        step(context)
    return context


def count(store: Store, purpose: str, status: str = "ok") -> int:
    n = store.value(
        "SELECT count(*) FROM requests WHERE purpose = ? AND status = ?", purpose, status
    )
    return int(n)


def command(folder: Path, server: OpenAIServer, *more: str) -> list[str]:
    return [
        sys.executable, "-m", "memoirist.flows.cli", "curate", "--judge", "-w", str(folder / "ws"),
        "--set", f"interview.base_url={server.base_url}", "--set", "interview.model=interviewer",
        "--set", "interview.max_concurrency=8", "--set", "persona.name=Ada Quill",
        "--set", "persona.lang=en", *more,
    ]  # fmt: skip


def judging(folder: Path, server: OpenAIServer, n: int, *more: str) -> subprocess.Popen[str]:
    """Begin to judge, in a process of its own, and return when `n` requests have come."""
    child = subprocess.Popen(
        command(folder, server, *more), cwd=ROOT, env=environment(), stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    while server.seen.requests < n and child.poll() is None:
        time.sleep(0.01)
    return child


def test_one_run_has_one_budget_for_all_it_asks(tmp_path: Path, store: Store) -> None:
    with OpenAIServer(Script(latency_seconds=0.01)) as server:
        more = {"interview__follow_up_share": 1.0, "interview__answers": "polished", **JUDGED}
        context = run(tmp_path, server, **more, interview__max_requests=2 * N + 20)
        assert server.seen.requests == 2 * N + 20
        assert f"max_requests = {2 * N + 20} is reached" in context.budget.stopped
        assert [count(store, purpose) for purpose in ("interview", "polish", "judge")] == [N, N, 20]
        assert count(store, "follow_up") == 0
        run_id = store.rows("SELECT DISTINCT run_id FROM requests")
        assert [row["run_id"] for row in run_id] == [context.run_id]
        spent = {row["purpose"]: row["requests"] for row in store.rows("FROM spent")}
        assert spent == {"interview": N, "polish": N, "judge": 20}
        left = "SELECT count(*) FROM verdicts WHERE rule = 'not_judged' AND reason LIKE '%stopped%'"
        assert store.value(left) == store.value(_JUDGED) - 20
        # The next run goes on where the first one stopped, and pays for nothing twice.
        again = run(tmp_path, server, **more)
        assert not again.budget.stopped
        n_pairs = store.value(_JUDGED)
        assert count(store, "judge") == n_pairs
        assert store.value("SELECT count(*) FROM verdicts WHERE rule = 'not_judged'") == 0
        assert server.seen.requests == 2 * N + n_pairs + count(store, "follow_up")
        assert count(store, "follow_up") > 5


@pytest.mark.parametrize(
    ("limit", "spent"),
    [
        ({"interview__max_tokens": 60_000}, "sum(tokens_in + tokens_out)"),
        ({"interview__budget_usd": 0.13}, "sum(cost_usd)"),
    ],
)
def test_tokens_and_dollars_of_all_purposes_stay_within_one_limit(
    tmp_path: Path, store: Store, limit: dict[str, Any], spent: str
) -> None:
    with OpenAIServer(Script(latency_seconds=0.01)) as server:
        run(tmp_path, server, interview__prices=PRICES, **limit, **JUDGED)
    (most,) = limit.values()
    assert 0.8 * most < store.value(f"SELECT {spent} FROM requests") <= most
    assert count(store, "interview") == N
    assert 0 < count(store, "judge") < N


@pytest.mark.medium
def test_a_killed_judge_repeats_at_most_the_last_second(tmp_path: Path, store: Store) -> None:
    with OpenAIServer() as server:
        run(tmp_path, server)
        asked, n_pairs = server.seen.requests, store.value(_JUDGED)
        server.script.latency_seconds = 0.5
        child = judging(tmp_path, server, asked + n_pairs // 2)
        child.send_signal(signal.SIGKILL)
        child.communicate(timeout=10)
        assert server.seen.requests < asked + n_pairs
        subprocess.run(
            command(tmp_path, server), cwd=ROOT, env=environment(), check=True, capture_output=True
        )
        # Eight were in flight, and sixteen replies came in the last second.
        assert server.seen.requests - asked - n_pairs <= 8 + 16
    assert count(store, "judge") == n_pairs
    assert store.value("SELECT count(*) FROM verdicts WHERE rule = 'judge'") == n_pairs


@pytest.mark.medium
@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_at_the_judge(tmp_path: Path, store: Store, times: int) -> None:
    with OpenAIServer() as server:
        run(tmp_path, server)
        asked = server.seen.requests
        server.script.latency_seconds = 0.3
        child = judging(tmp_path, server, asked + 20)
        if times == 2:
            server.script.latency_seconds = 25.0
            time.sleep(0.5)
        began = time.monotonic()
        for _ in range(times):
            child.send_signal(signal.SIGINT)
            time.sleep(0.3)
        _, told = child.communicate(timeout=20)
        assert time.monotonic() - began < 10
        sent = server.seen.requests - asked
    assert child.returncode == 130
    assert "in flight; press it again to stop at once" in told
    assert "Traceback" not in told
    assert sent < 45
    assert count(store, "judge") == (sent if times == 1 else sent - 8)


def test_a_refusal_stops_the_judge_and_keeps_what_came(tmp_path: Path, store: Store) -> None:
    with OpenAIServer() as server:
        run(tmp_path, server)
        asked = server.seen.requests
        server.script.latency_seconds = 0.02
        server._faults.extend([""] * 20 + ["401"] * 5)
        with pytest.raises(EndpointError, match="Incorrect API key"):
            run(tmp_path, server, **JUDGED, interview__max_concurrency=4)
        assert server.seen.requests - asked < 30
        assert 20 <= count(store, "judge") <= 24
        server._faults.clear()
        kept, before = count(store, "judge"), server.seen.requests
        run(tmp_path, server, **JUDGED)
        n_pairs = store.value(_JUDGED)
        assert server.seen.requests - before == n_pairs - kept
        assert count(store, "judge") == n_pairs


@pytest.mark.medium
def test_a_failure_of_the_judge_is_told_and_asked_again(tmp_path: Path, store: Store) -> None:
    few = {"interview__max_attempts": 1, "interview__max_repairs": 0, **JUDGED}
    told = "SELECT reason, next_step FROM verdicts WHERE rule = 'not_judged'"
    with OpenAIServer() as server:
        run(tmp_path, server)
        n_pairs = store.value(_JUDGED)
        for fault, word in (("500", "no reply in 1 attempts"), ("chatter", "no JSON object")):
            server.script.always = fault
            before = server.seen.requests
            with pytest.raises(EndpointError, match=f"no grade: none of {n_pairs}"):
                run(tmp_path, server, **few)
            assert server.seen.requests - before == n_pairs
            rows = store.rows(told)
            assert len(rows) == n_pairs
            assert all(word in row["reason"] and row["next_step"] for row in rows)
        assert (count(store, "judge", "failed"), count(store, "judge", "unusable")) == (
            n_pairs,
        ) * 2
        # What cannot be used is kept as it is, and asked again under other limits.
        server.script.always = None
        before = server.seen.requests
        run(tmp_path, server, **few)
        assert server.seen.requests == before
        run(tmp_path, server, **JUDGED)
        assert server.seen.requests - before == n_pairs
    assert count(store, "judge") == n_pairs
    assert store.rows(told) == []


@pytest.mark.medium
def test_all_purposes_go_by_batch_at_its_price(tmp_path: Path, store: Store) -> None:
    batch = {
        "interview__mode": "batch",
        "interview__batch_poll_seconds": 0.02,
        "interview__prices": PRICES,
        "interview__follow_up_share": 1.0,
        "interview__answers": "polished",
        **JUDGED,
    }
    purposes = ("interview", "polish", "judge", "follow_up")
    with OpenAIServer() as server:
        run(tmp_path, server, **batch)
        assert server.seen.requests == 0
        n = [count(store, purpose) for purpose in purposes]
        assert min(n) > 5
        assert len(server.batches.asked) == sum(n)
        run(tmp_path, server, **batch)
        assert len(server.batches.asked) == sum(n)
    for row in store.rows(
        "SELECT sum(tokens_in)::DOUBLE AS i, sum(tokens_out)::DOUBLE AS o, sum(cost_usd) AS usd"
        " FROM requests GROUP BY purpose"
    ):
        assert row["usd"] == pytest.approx((row["i"] * 1.0 + row["o"] * 10.0) * 0.5 / 1e6)


@pytest.mark.medium
def test_the_plan_counts_all_that_the_recipe_turns_on(tmp_path: Path, store: Store) -> None:
    wanted = {"interview__prices": PRICES, "interview__follow_up_share": 1.0, **JUDGED}
    wanted["interview__answers"] = "polished"
    with OpenAIServer(Script(latency_seconds=0.02)) as server:
        before = cost_rows(context_for(tmp_path, server, **wanted))
        steps = [step for step, text in before if " calls" in text or step == "total"]
        assert steps == ["ask", "polish", "judge", "follow", "total", "pilot"]
        assert server.seen.requests == server.seen.probes == 0
        total = dict(before)["total"]
        n_calls, low, high = (float(n) for n in re.findall(r"[\d.]+\d", total))
        run(tmp_path, server, **wanted)
        came = store.rows("SELECT count(*) AS n, sum(cost_usd) AS usd FROM requests")[0]
        assert 0.75 * n_calls <= came["n"] <= n_calls
        assert low - 0.005 <= came["usd"] <= high + 0.005
        # What is answered costs nothing; a higher share costs what it adds, as measured so far.
        after = cost_rows(context_for(tmp_path, server, **wanted))
        free = [step for step, text in after if text.startswith("0 calls")]
        assert free == ["ask", "polish", "judge", "follow"]
        assert "total" not in dict(after)
        n_pairs = store.value(_JUDGED)
        anew = {**wanted, "curate__judge_model": "other", "interview__max_requests": n_pairs - 1}
        rows = cost_rows(context_for(tmp_path, server, **anew))
        assert ("judge", f"{n_pairs} calls to 'other'") in rows
        text = "\n".join(text for _, text in rows)
        assert "unknown price for model 'other'" in text
        assert f"max_requests = {n_pairs - 1} may stop the run earlier" in text


def test_a_plan_by_batch_tells_the_lower_price_and_no_seconds(tmp_path: Path, store: Store) -> None:
    usd = []
    with OpenAIServer() as server:
        for mode in ("live", "batch"):
            wanted = {"interview__prices": PRICES, "interview__mode": mode, **JUDGED}
            rows = cost_rows(context_for(tmp_path, server, **wanted))
            prices = re.findall(r"\$([\d.]+) to \$([\d.]+)", dict(rows)["total"])
            usd.append([float(price) for price in prices[0]])
    assert usd[1] == pytest.approx([each / 2 for each in usd[0]], abs=0.006)
    assert sum("within a day" in text for _, text in rows) == 2


def test_an_endpoint_is_probed_once_and_again_after_it_refused(
    tmp_path: Path, store: Store
) -> None:
    with OpenAIServer(Script()) as server:
        run(tmp_path, server, **JUDGED)
        assert server.seen.probes == 1
        put(store, [passage(n) for n in range(N, N + 3)])
        run(tmp_path, server, **JUDGED)
        assert server.seen.probes == 1
        put(store, [passage(n) for n in range(N + 3, N + 6)])
        server.script.always = "401"
        with pytest.raises(EndpointError):
            run(tmp_path, server, **JUDGED)
        server.script.always = None
        run(tmp_path, server, **JUDGED)
        assert server.seen.probes == 2
    assert store.value("SELECT count(DISTINCT passage_id) FROM questions") == N + 6
