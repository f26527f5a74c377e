"""The Batch API against a real local server: one file, one price, and nothing asked twice."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from data.errors import EndpointError
from data.nouns import Batch
from generators.batch_client import BatchClient
from generators.client import Completion, Endpoint, RequestFailed
from generators.replies import SCHEMA
from generators.settings import InterviewSettings
from tests.openai_batches import BatchScript
from tests.openai_server import OpenAIServer

ASKED = [f"<material-0>\nThis is mark-{n}.\n</material-0>" for n in range(10)]


class Book:
    """A workspace's list of batches that outlives its clients."""

    def __init__(self) -> None:
        self.noted: dict[str, Batch] = {}

    def batches(self, base_url: str) -> Sequence[Batch]:
        return [each for each in self.noted.values() if each.base_url == base_url]

    def note(self, batch: Batch) -> None:
        self.noted[batch.key] = batch


def settings(**changes: Any) -> InterviewSettings:
    return InterviewSettings(mode="batch", **{"batch_poll_seconds": 0.02, **changes})


async def ask(
    server: OpenAIServer, book: Book, texts: Sequence[str], **changes: Any
) -> list[Completion | BaseException]:
    endpoint = Endpoint(base_url=server.base_url, model="interviewer", structured="json_schema")
    async with BatchClient(settings(**changes), server.base_url, book) as client:
        replies = [
            client.complete([{"role": "user", "content": text}], endpoint, SCHEMA) for text in texts
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
        book = Book()
        assert right(asyncio.run(ask(server, book, ASKED)))
        assert len(server.batches.batches) == 1
        assert [each.status for each in book.noted.values()] == ["completed"]
        # Another run finds all of it there.
        assert right(asyncio.run(ask(server, book, ASKED)))
        assert right(asyncio.run(ask(server, book, [*ASKED, ASKED[0]]))[:10])
        assert len(server.batches.asked) == 10
        assert server.seen.requests == 0


def test_files_hold_no_more_than_they_may() -> None:
    with OpenAIServer() as server:
        assert right(asyncio.run(ask(server, Book(), ASKED, batch_requests=4)))
        sizes = [len(each["lines"]) for each in server.batches.batches.values()]
        assert sizes == [4, 4, 2]


def test_what_expired_or_failed_alone_is_sent_again() -> None:
    with OpenAIServer() as server:
        server.batches.script = BatchScript(ends=["expired"], rejects=["mark-1."])
        replies = asyncio.run(ask(server, Book(), ASKED))
        assert right(replies)
        sizes = [len(each["lines"]) for each in server.batches.batches.values()]
        assert sizes == [10, 6]
        assert isinstance(replies[1], Completion)
        assert replies[1].attempts == 2


def test_a_request_that_never_succeeds_fails_alone() -> None:
    with OpenAIServer() as server:
        server.batches.script = BatchScript(rejects=["mark-3."] * 9)
        server.batches.script.rejects = ["mark-3.", "mark-3. "]
        replies = asyncio.run(ask(server, Book(), ASKED, max_attempts=1))
        assert isinstance(replies[3], RequestFailed)
        assert "overloaded" in str(replies[3])
        assert right(replies[:3])
        assert right(replies[4:], first=4)


def test_a_stopped_run_is_taken_up_again() -> None:
    async def impatient(server: OpenAIServer, book: Book) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await ask(server, book, ASKED)

    with OpenAIServer() as server:
        book = Book()
        server.batches.script = BatchScript(seconds=1.5)
        asyncio.run(impatient(server, book))
        assert [each.status in {"validating", "in_progress"} for each in book.noted.values()]
        assert right(asyncio.run(ask(server, book, ASKED)))
        assert len(server.batches.asked) == 10


def test_a_batch_that_nobody_heard_of_is_found_by_its_key() -> None:
    with OpenAIServer() as server:
        book = Book()
        server.batches.script = BatchScript(deaf=1)
        asyncio.run(ask(server, book, ASKED[:3]))
        (batch,) = book.noted.values()
        # Killed between the sending and the answer: the id was never written down.
        book.note(Batch(key=batch.key, base_url=batch.base_url, status="sending",
                        custom_ids=batch.custom_ids, created_at=batch.created_at))  # fmt: skip
        before = len(server.batches.asked)
        assert right(asyncio.run(ask(server, book, ASKED[:3])))
        assert len(server.batches.asked) == before
        # Where the provider knows of none, it is sent.
        server.batches.batches.clear()
        book.note(Batch(key=batch.key, base_url=batch.base_url, status="sending",
                        custom_ids=batch.custom_ids, created_at=batch.created_at))  # fmt: skip
        assert right(asyncio.run(ask(server, book, ASKED[:3])))
        assert len(server.batches.asked) == before + 3


def test_a_refused_batch_and_a_server_without_batches_are_one_line() -> None:
    with OpenAIServer() as server:
        book = Book()
        server.batches.script = BatchScript(ends=["failed"])
        replies = asyncio.run(ask(server, book, ASKED[:2]))
        assert all(isinstance(each, EndpointError) for each in replies)
        assert "Enqueued token limit" in str(replies[0])
        assert right(asyncio.run(ask(server, book, ASKED[:2])))  # it stands in nobody's way
        server.batches.script = BatchScript(absent=True)
        (lost,) = asyncio.run(ask(server, Book(), ASKED[:1]))
        assert isinstance(lost, EndpointError)
        assert "no Batch API" in str(lost)


def test_a_broken_connection_makes_no_second_batch() -> None:
    with OpenAIServer() as server:
        server.batches.script = BatchScript(deaf=1, seconds=0.8)
        assert right(asyncio.run(ask(server, Book(), ASKED[:2])))
        assert len(server.batches.asked) == 2
