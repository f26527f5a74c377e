"""The Batch API against a real local server: one file, one price, and nothing asked twice."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from memoirist.data.schema.errors import EndpointError
from memoirist.data.schema.records import Batch
from memoirist.data.store.store import Store
from memoirist.generators.client.batch import BatchClient
from memoirist.generators.client.endpoint import Endpoint
from memoirist.generators.client.http_errors import RequestFailed
from memoirist.generators.client.responses import Completion
from memoirist.generators.settings import InterviewSettings
from memoirist.generators.tasks.reply_parser import SCHEMA
from tests.conftest import ROOT, environment, run
from tests.flows.test_ask import ask as ask_workspace
from tests.flows.test_ask import passage, put, rows_are_right
from tests.support.openai_batches import BatchScript
from tests.support.openai_server import OpenAIServer

ASKED = [f"<material-0>\nThis is mark-{n}.\n</material-0>" for n in range(10)]


class Saved:
    """A workspace's list of batches that outlives its clients."""

    def __init__(self) -> None:
        self.by_key: dict[str, Batch] = {}

    def batches(self, base_url: str) -> Sequence[Batch]:
        return [each for each in self.by_key.values() if each.base_url == base_url]

    def save(self, batch: Batch) -> None:
        self.by_key[batch.key] = batch


def settings(**changes: Any) -> InterviewSettings:
    return InterviewSettings(mode="batch", **{"batch_poll_seconds": 0.02, **changes})


async def ask(
    server: OpenAIServer, book: Saved, texts: Sequence[str], **changes: Any
) -> list[Completion | BaseException]:
    endpoint = Endpoint(base_url=server.base_url, model="interviewer", structured="json_schema")
    async with BatchClient(settings(**changes), server.base_url, book) as client:
        replies = [
            client.complete([{"role": "user", "content": text}], lambda: endpoint, SCHEMA)
            for text in texts
        ]
        return await asyncio.gather(*replies, return_exceptions=True)


def right(replies: Sequence[Completion | BaseException], first: int = 0) -> bool:
    """Tell whether each reply is about its own passage."""
    return all(
        isinstance(reply, Completion) and f"mark-{n}?" in reply.text
        for n, reply in enumerate(replies, start=first)
    )


def test_all_go_in_one_file_and_each_gets_its_own_reply() -> None:
    with OpenAIServer() as server:
        book = Saved()
        assert right(asyncio.run(ask(server, book, ASKED)))
        assert len(server.batches.batches) == 1
        assert [each.status for each in book.by_key.values()] == ["completed"]
        # Another run finds all of it there.
        assert right(asyncio.run(ask(server, book, ASKED)))
        assert right(asyncio.run(ask(server, book, [*ASKED, ASKED[0]]))[:10])
        assert len(server.batches.asked) == 10
        assert server.seen.requests == 0


def test_files_hold_no_more_than_they_may() -> None:
    with OpenAIServer() as server:
        assert right(asyncio.run(ask(server, Saved(), ASKED, batch_requests=4)))
        sizes = [len(each["lines"]) for each in server.batches.batches.values()]
        assert sizes == [4, 4, 2]


def test_what_expired_or_failed_alone_is_sent_again() -> None:
    with OpenAIServer() as server:
        server.batches.script = BatchScript(ends=["expired"], rejects=["mark-1."])
        replies = asyncio.run(ask(server, Saved(), ASKED))
        assert right(replies)
        sizes = [len(each["lines"]) for each in server.batches.batches.values()]
        assert sizes == [10, 6]
        assert isinstance(replies[1], Completion)
        assert replies[1].attempts == 2


def test_a_request_that_never_succeeds_fails_alone() -> None:
    with OpenAIServer() as server:
        server.batches.script = BatchScript(rejects=["mark-3."] * 9)
        server.batches.script.rejects = ["mark-3.", "mark-3. "]
        replies = asyncio.run(ask(server, Saved(), ASKED, max_attempts=1))
        assert isinstance(replies[3], RequestFailed)
        assert "overloaded" in str(replies[3])
        assert right(replies[:3])
        assert right(replies[4:], first=4)


def test_a_stopped_run_is_taken_up_again() -> None:
    async def impatient(server: OpenAIServer, book: Saved) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await ask(server, book, ASKED)

    with OpenAIServer() as server:
        book = Saved()
        server.batches.script = BatchScript(seconds=1.5)
        asyncio.run(impatient(server, book))
        assert [each.status in {"validating", "in_progress"} for each in book.by_key.values()]
        assert right(asyncio.run(ask(server, book, ASKED)))
        assert len(server.batches.asked) == 10


def test_a_batch_that_nobody_heard_of_is_found_by_its_key() -> None:
    with OpenAIServer() as server:
        book = Saved()
        server.batches.script = BatchScript(deaf=1)
        asyncio.run(ask(server, book, ASKED[:3]))
        (batch,) = book.by_key.values()
        # Killed between the sending and the answer: the id was never written down.
        book.save(Batch(key=batch.key, base_url=batch.base_url, status="sending",
                        custom_ids=batch.custom_ids, created_at=batch.created_at))  # fmt: skip
        before = len(server.batches.asked)
        assert right(asyncio.run(ask(server, book, ASKED[:3])))
        assert len(server.batches.asked) == before
        # Where the provider knows of none, it is sent.
        server.batches.batches.clear()
        book.save(Batch(key=batch.key, base_url=batch.base_url, status="sending",
                        custom_ids=batch.custom_ids, created_at=batch.created_at))  # fmt: skip
        assert right(asyncio.run(ask(server, book, ASKED[:3])))
        assert len(server.batches.asked) == before + 3


def test_a_refused_batch_and_a_server_without_batches_are_one_line() -> None:
    with OpenAIServer() as server:
        book = Saved()
        server.batches.script = BatchScript(ends=["failed"])
        replies = asyncio.run(ask(server, book, ASKED[:2]))
        assert all(isinstance(each, EndpointError) for each in replies)
        assert "Enqueued token limit" in str(replies[0])
        assert right(asyncio.run(ask(server, book, ASKED[:2])))  # it stands in nobody's way
        server.batches.script = BatchScript(absent=True)
        (lost,) = asyncio.run(ask(server, Saved(), ASKED[:1]))
        assert isinstance(lost, EndpointError)
        assert "no Batch API" in str(lost)


def test_a_broken_connection_makes_no_second_batch() -> None:
    with OpenAIServer() as server:
        server.batches.script = BatchScript(deaf=1, seconds=0.8)
        assert right(asyncio.run(ask(server, Saved(), ASKED[:2])))
        assert len(server.batches.asked) == 2


def test_ask_by_batch_fills_the_workspace_at_the_batch_price(tmp_path: Path) -> None:
    store = Store(tmp_path / "ws" / "memoirist.duckdb")
    put(store, [passage(n) for n in range(12)])
    mode = {
        "interview__mode": "batch",
        "interview__batch_poll_seconds": 0.02,
        "interview__prices": {"interviewer": {"input": 1.0, "output": 2.0}},
    }
    with OpenAIServer() as server:
        server.batches.script = BatchScript(ends=["expired"], rejects=["mark-2 "])
        ask_workspace(tmp_path, server, **mode)
        assert rows_are_right(store) == 12
        assert server.seen.requests == 0
        assert len(set(server.batches.asked)) == 12
        before = len(server.batches.asked)
        ask_workspace(tmp_path, server, **mode)
        assert len(server.batches.asked) == before
    (row,) = store.rows(
        "SELECT sum(tokens_in)::DOUBLE AS i, sum(tokens_out)::DOUBLE AS o, sum(cost_usd) AS usd"
        " FROM requests"
    )
    assert row["usd"] == pytest.approx((row["i"] * 1.0 + row["o"] * 2.0) * 0.5 / 1e6)


@pytest.mark.medium
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_batch_run_is_fetched_by_the_next(tmp_path: Path, sent: signal.Signals) -> None:
    store = Store(tmp_path / "ws" / "memoirist.duckdb")
    put(store, [passage(n) for n in range(12)])
    with OpenAIServer() as server:
        server.batches.script = BatchScript(seconds=60)
        asking = [
            "ask", "-w", str(tmp_path / "ws"), "--base-url", server.base_url,
            "--model", "interviewer", "--set", "persona.lang=en",
            "--set", "interview.mode=batch", "--set", "interview.batch_poll_seconds=0.1",
        ]  # fmt: skip
        command = [sys.executable, "-m", "memoirist.flows.cli", *asking]
        out = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        child = subprocess.Popen(command, cwd=ROOT, env=environment(), text=True, **out)
        while server.batches.polls < 2 and child.poll() is None:
            time.sleep(0.02)
        child.send_signal(sent)
        told, _ = child.communicate(timeout=20)
        if sent is signal.SIGINT:
            assert "12 requests remain with the provider" in told
            assert "Traceback" not in told
        assert child.returncode != 0
        for batch in server.batches.batches.values():
            batch["ready"] = 0.0
        assert run(tmp_path, *asking).returncode == 0
        assert len(server.batches.asked) == 12
    assert rows_are_right(store) == 12
