"""The client of LLM servers against a real local server: replies, faults, pauses and stops."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from typing import Any

import pytest

from memoirist.data.schema.errors import EndpointError
from memoirist.generators.client.client import Client, Piece, open_sdk, stream_chat
from memoirist.generators.client.endpoint import Endpoint
from memoirist.generators.client.http_errors import (
    Fault,
    RequestFailed,
    Withheld,
    connection_fault,
    scrub,
    status_fault,
)
from memoirist.generators.client.probe import probe
from memoirist.generators.client.responses import Completion, joined_stream, read_completion
from memoirist.generators.client.retry import allowance_seconds, pause_seconds, retry_after_seconds
from memoirist.generators.settings import InterviewSettings
from memoirist.generators.tasks.reply_parser import SCHEMA
from tests.support.openai_server import OpenAIServer, Script

KEY = "sk-test-0123456789abcdef"
MATERIAL = "<material-12ab>\nI remember mark-7 and the mill by the river.\n</material-12ab>"
MESSAGES = [{"role": "system", "content": "Ask."}, {"role": "user", "content": MATERIAL}]


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    for name in ("OPENAI_BASE_URL", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def settings_for(server: OpenAIServer, **changes: Any) -> InterviewSettings:
    given = {"base_url": server.base_url, "max_backoff_seconds": 0.05, **changes}
    return InterviewSettings(**given)


async def _complete(server: OpenAIServer, n: int = 1, **changes: Any) -> list[Completion]:
    endpoint = Endpoint(base_url=server.base_url, model="interviewer", structured="json_schema")
    async with Client(settings_for(server, **changes), server.base_url) as client:
        return list(
            await asyncio.gather(
                *(client.complete(MESSAGES, lambda: endpoint, SCHEMA) for _ in range(n))
            )
        )


def complete(server: OpenAIServer, n: int = 1, **changes: Any) -> list[Completion]:
    return asyncio.run(_complete(server, n, **changes))


@pytest.mark.parametrize(
    "fault",
    ["malformed", "truncated", "short", "gibberish", "drop", "html", "page", "cut_stream",
     "error_in_200", "500", "502", "503", "429", "408", "529"],
)  # fmt: skip
def test_a_broken_answer_is_asked_again(fault: str) -> None:
    with OpenAIServer(Script(faults=[fault], retry_after_seconds=0.05)) as server:
        (completion,) = complete(server)
    assert completion.attempts == 2
    assert "mark-7" in completion.text.lower()
    assert completion.fault is None
    assert (completion.tokens_in or 0) > 0


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("no_choices", "no choice"),
        ("refusal", "refused"),
        ("filter", "content filter"),
        ("cut", "cut off"),
    ],
)
def test_a_reply_that_cannot_be_used_says_why(fault: str, told: str) -> None:
    with OpenAIServer(Script(always=fault)) as server:
        (completion,) = complete(server)
    assert told in (completion.fault or "")
    assert completion.attempts == 1


def test_a_server_that_always_streams_is_read_whole() -> None:
    script = Script(always_streams=True, first_token_seconds=0.2)
    with OpenAIServer(script) as server:
        (completion,) = complete(server)
    assert "mark-7" in completion.text.lower()
    assert (completion.tokens_out or 0) > 0
    assert completion.seconds >= 0.2


def test_an_error_within_a_stream_is_a_fault() -> None:
    with OpenAIServer(Script(faults=["error_in_stream"])) as server:
        (completion,) = complete(server)
    assert completion.attempts == 2
    assert completion.fault is None


def test_a_stream_of_odd_pieces_is_read() -> None:
    parts = {"delta": {"content": [{"type": "text", "text": "b"}]}, "finish_reason": "stop"}
    odd = {"choices": 7}, {"choices": [None, {"delta": "x"}, {"delta": {"content": "a"}}]}, 3
    whole = joined_stream([*odd, {"choices": [parts]}], ended=False)
    assert isinstance(whole, dict)
    assert whole["choices"][0]["message"]["content"] == "ab"
    assert isinstance(joined_stream([*odd], ended=False), Fault)
    assert not isinstance(joined_stream([*odd], ended=True), Fault)


def test_a_server_that_takes_the_connection_and_never_answers_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("memoirist.generators.client.client.CONNECT_SECONDS", 0.3)
    monkeypatch.setattr("memoirist.generators.client.http_errors.CONNECT_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        settings = InterviewSettings(base_url=f"https://127.0.0.1:{mute.getsockname()[1]}/v1")
        with pytest.raises(EndpointError, match=r"no connection within 0\.3 seconds"):
            asyncio.run(probe(settings))


def test_one_passage_that_is_too_large_does_not_stop_the_run() -> None:
    assert status_fault(413, {}, "<html>Request Entity Too Large</html>").kind == "request"


def test_a_count_of_tokens_below_none_is_not_believed() -> None:
    """It would let a run go beyond its budget."""
    usage = {"prompt_tokens": 12, "completion_tokens": -500}
    got = read_completion({"choices": [], "usage": usage}, 1, 0.1)
    assert (got.tokens_in, got.tokens_out) == (12, None)


def test_missing_usage_is_no_fault() -> None:
    with OpenAIServer(Script(no_usage=True)) as server:
        (completion,) = complete(server)
    assert completion.fault is None
    assert completion.tokens_in is completion.tokens_out is None


@pytest.mark.parametrize(("fault", "step"), [("moved", "new address"), ("402", "account")])
def test_what_no_repetition_mends_stops_the_run(fault: str, step: str) -> None:
    with OpenAIServer(Script(always=fault)) as server:
        with pytest.raises(EndpointError, match=step):
            complete(server)
        assert server.seen.requests == 1


def test_a_key_never_follows_a_redirect() -> None:
    with OpenAIServer(Script(always="moved")) as server, pytest.raises(EndpointError) as caught:
        complete(server)
    assert "http://127.0.0.1:9/" in str(caught.value)
    assert KEY not in str(caught.value)


@pytest.mark.medium
def test_a_cap_is_learnt_and_kept() -> None:
    script = Script(latency_seconds=0.1, cap=8, retry_after_seconds=0.2)
    with OpenAIServer(script) as server:
        completions = complete(server, 160, max_concurrency=32)
    assert len(completions) == 160
    assert server.seen.most_in_flight == 8
    assert server.seen.requests <= 160 + 24 + 20


@pytest.mark.medium
def test_refused_requests_leave_their_slots_to_others() -> None:
    odds = {"429": 0.3}
    with OpenAIServer(
        Script(latency_seconds=0.05, odds=odds, seed=3, retry_after_seconds=1.0)
    ) as server:
        began = time.monotonic()
        complete(server, 60, max_concurrency=4)
        taken = time.monotonic() - began
    # Holding their slots, some 25 refusals of a second each would take 6 s in 4 slots.
    assert taken < 5


def test_a_used_up_allowance_holds_the_next_start() -> None:
    with OpenAIServer(Script(allowance_used_up="300ms")) as server:
        began = time.monotonic()
        complete(server, 3, max_concurrency=1)
        assert 0.6 <= time.monotonic() - began < 3


def test_the_deadline_gives_up_a_hang() -> None:
    with OpenAIServer(Script(faults=["hang"])) as server:
        (completion,) = complete(server, request_timeout_seconds=0.3)
    assert completion.attempts == 2
    assert 0.3 <= completion.seconds < 2


def test_nothing_succeeding_pauses_and_then_stops_the_run() -> None:
    with OpenAIServer(Script(always="500")) as server:
        with pytest.raises(EndpointError, match="no request has succeeded for") as caught:
            complete(server, 40, max_concurrency=8, max_attempts=50, circuit_opens_seconds=0.2,
                     circuit_stops_seconds=1.0)  # fmt: skip
        met = server.seen.requests
    line = str(caught.value)
    assert "continues where this run stopped" in line
    assert "\n" not in line
    # Open, it lets one request through at a time, with growing pauses.
    assert met < 250


@pytest.mark.medium
def test_a_server_that_comes_back_is_found_again() -> None:
    script = Script(faults=[""] * 4 + ["drop"] * 6)
    with OpenAIServer(script) as server:
        completions = complete(server, 12, max_concurrency=2, circuit_opens_seconds=0.0)
    assert len(completions) == 12


@pytest.mark.medium
def test_a_server_that_restarts_costs_no_passage() -> None:
    async def run() -> int:
        first = OpenAIServer(Script(latency_seconds=0.02))
        with first:
            port = first.port
            endpoint = Endpoint(
                base_url=first.base_url, model="interviewer", structured="json_schema"
            )
            settings = settings_for(first, max_concurrency=2, max_attempts=2)
            async with Client(settings, first.base_url) as client:
                await client.complete(MESSAGES, lambda: endpoint, SCHEMA)
                await asyncio.to_thread(first.__exit__, None, None, None)
                waiting = [
                    asyncio.create_task(client.complete(MESSAGES, lambda: endpoint, SCHEMA))
                    for _ in range(6)
                ]
                await asyncio.sleep(0.5)
                with OpenAIServer(Script(), port=port):
                    return len(await asyncio.gather(*waiting))

    assert asyncio.run(run()) == 6


def test_halting_finishes_what_is_in_flight_and_sends_nothing_more() -> None:
    async def run(server: OpenAIServer) -> list[Any]:
        endpoint = Endpoint(base_url=server.base_url, model="interviewer", structured="text")
        async with Client(settings_for(server, max_concurrency=4), server.base_url) as client:
            tasks = [
                asyncio.create_task(client.complete(MESSAGES, lambda: endpoint, SCHEMA))
                for _ in range(20)
            ]
            await asyncio.sleep(0.2)
            client.halt()
            return await asyncio.gather(*tasks, return_exceptions=True)

    with OpenAIServer(Script(latency_seconds=0.5)) as server:
        ended = asyncio.run(run(server))
        assert server.seen.requests == 4
    assert sum(isinstance(one, Completion) for one in ended) == 4
    assert sum(isinstance(one, Withheld) for one in ended) == 16


def test_halting_wakes_who_waits_for_its_next_attempt() -> None:
    async def run(server: OpenAIServer) -> float:
        endpoint = Endpoint(base_url=server.base_url, model="interviewer", structured="text")
        async with Client(settings_for(server), server.base_url) as client:
            task = asyncio.create_task(client.complete(MESSAGES, lambda: endpoint, SCHEMA))
            await asyncio.sleep(0.3)
            began = time.monotonic()
            client.halt()
            with pytest.raises(Withheld):
                await task
            return time.monotonic() - began

    with OpenAIServer(Script(always="429", retry_after_seconds=30)) as server:
        assert asyncio.run(run(server)) < 1


def test_no_further_attempt_without_leave() -> None:
    async def run(server: OpenAIServer) -> None:
        endpoint = Endpoint(base_url=server.base_url, model="interviewer", structured="text")
        async with Client(settings_for(server), server.base_url) as client:
            leaves = iter((True, False))
            client.may_send = lambda: next(leaves)
            with pytest.raises(Withheld):
                await client.complete(MESSAGES, lambda: endpoint, SCHEMA)

    with OpenAIServer(Script(always="500")) as server:
        asyncio.run(run(server))
        assert server.seen.requests == 1


def test_a_wait_of_hours_stops_the_run() -> None:
    with OpenAIServer(Script(always="429", retry_after_seconds=7200)) as server:
        with pytest.raises(EndpointError, match="asks to wait 7,200 seconds"):
            complete(server)
        assert server.seen.requests == 1


def test_a_lasting_failure_counts_its_attempts() -> None:
    with OpenAIServer(Script(always="500")) as server:
        with pytest.raises(RequestFailed) as caught:
            complete(server, max_attempts=3)
        assert server.seen.requests == 3
    assert caught.value.attempts == 3
    assert not caught.value.permanent


def test_a_key_that_no_header_can_carry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-abc\u2019def")
    with pytest.raises(EndpointError, match="OPENAI_API_KEY contains a character") as caught:
        open_sdk("http://127.0.0.1:1/v1", 1)
    assert "abc" not in str(caught.value)


def test_a_connection_goes_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "")
    with OpenAIServer() as proxy, socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setenv("http_proxy", proxy.base_url.removesuffix("/v1"))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/v1"
        endpoint = Endpoint(base_url=url, model="interviewer", structured="text")

        async def run() -> None:
            settings = InterviewSettings(base_url=url, max_attempts=1)
            async with Client(settings, url) as client:
                with pytest.raises(EndpointError, match="answered 404"):
                    await client.complete(MESSAGES, lambda: endpoint, SCHEMA)

        asyncio.run(run())
        # The stand-in is no proxy: it met the whole address as a path, which is what is tested.
        assert proxy.seen.requests == 0


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"error": {"message": "no way", "code": "x"}}, "no way"),
        ({"error": "model is loading"}, "model is loading"),
        ({"detail": "Not authenticated"}, "Not authenticated"),
        ({"message": "plain"}, "plain"),
        (["odd"], "odd"),
        ("<html><style>p{}</style><h1>Bad Gateway</h1></html>", "500: Bad Gateway"),
        (None, "without a message"),
    ],
)
def test_the_words_of_any_server_are_found(body: object, words: str) -> None:
    fault = status_fault(500, {}, body)
    assert words in fault.message
    assert fault.kind == "retry"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, 360),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "20ms"}, 0.02),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1.5"}, 1.5),
        ({"x-ratelimit-remaining-requests": "4", "x-ratelimit-reset-requests": "1s"}, 0),
        ({"x-ratelimit-remaining-requests": "none"}, 0),
        ({}, 0),
    ],
)
def test_the_rest_of_an_allowance_is_read(headers: dict[str, str], seconds: float) -> None:
    assert allowance_seconds(headers) == pytest.approx(seconds)


def test_retry_after_in_all_its_forms() -> None:
    assert retry_after_seconds({"retry-after": "1.5"}) == 1.5
    assert retry_after_seconds({"retry-after-ms": "250"}) == 0.25
    assert retry_after_seconds({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0
    assert retry_after_seconds({"retry-after": "soon"}) is None
    assert status_fault(429, {"retry-after": "1.5"}, None).retry_after == 1.5


def test_backoff_doubles_up_to_the_longest_pause() -> None:
    for n, most in ((1, 0.1), (2, 0.2), (5, 1.6), (40, 7.0)):
        pauses = [pause_seconds(None, n, 7.0) for _ in range(50)]
        assert most / 2 <= min(pauses) <= max(pauses) <= most
    assert 3.0 <= pause_seconds(3.0, 9, 1.0) < 3.1


def test_no_key_in_what_is_told() -> None:
    assert scrub(f"Incorrect key {KEY} and sk-proj-9***zz") == "Incorrect key *** and ***"
    assert KEY not in connection_fault(OSError(f"with {KEY}")).message


def test_the_stand_in_server_runs_by_itself() -> None:
    command = [sys.executable, "-m", "tests.support.openai_server", "--port", "0", "--cap", "1"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    ) as server:
        assert server.stdout is not None
        url = server.stdout.readline().split()[1]
        endpoint = Endpoint(base_url=url, model="interviewer", structured="json_schema")

        async def run() -> Completion:
            async with Client(InterviewSettings(base_url=url), url) as client:
                return await client.complete(MESSAGES, lambda: endpoint, SCHEMA)

        assert "mark-7" in asyncio.run(run()).text.lower()
        server.kill()


def test_a_malformed_address_is_refused_in_one_line() -> None:
    with pytest.raises(EndpointError, match="is not the address of a server"):
        open_sdk("http://[::1/v1", 1)


def test_a_server_of_our_own_gets_no_key_and_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)

    async def answer(base_url: str) -> list[Piece]:
        pieces = stream_chat(base_url, "interviewer", [{"role": "user", "content": "Hm?"}], {})
        return [piece async for piece in pieces]

    with OpenAIServer(Script(always_streams=True)) as server:
        pieces = asyncio.run(answer(server.base_url))
        assert pieces[-1].finish
        assert server.seen.authorizations == {"Bearer none"}


CHUNK = b'data: {"choices": [{"index": 0, "delta": {"content": "By the river."}}]}\n\n'
DONE = b"data: [DONE]\n\n"


def chunked(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)


async def stream_of(head: str, body: bytes, *, reset: bool = False) -> list[Piece]:
    """Return the pieces of an answer that a server sends byte for byte, then hangs up."""

    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        start = f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{head}\r\n\r\n"
        writer.write(start.encode() + body)
        await writer.drain()
        if reset:
            await asyncio.sleep(0.2)
            writer.transport.abort()
        writer.close()

    server = await asyncio.start_server(reply, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        return [piece async for piece in stream_chat(url, "m", MESSAGES, {})]


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ("Connection: close", CHUNK + DONE),
        ("Connection: close", CHUNK),
        ("Transfer-Encoding: chunked", chunked(CHUNK, DONE, b"")),
        ("Transfer-Encoding: chunked", chunked(CHUNK, b"")),
        (f"Content-Length: {len(CHUNK)}", CHUNK),
    ],
)
def test_a_stream_that_ends_without_a_reason_is_an_answer(head: str, body: bytes) -> None:
    pieces = asyncio.run(stream_of(head, body))
    assert pieces == [Piece(words="By the river."), Piece(words="", finish="stop")]


@pytest.mark.parametrize(
    ("head", "body", "reset"),
    [
        ("Transfer-Encoding: chunked", chunked(CHUNK), False),
        ("Transfer-Encoding: chunked", chunked(CHUNK)[:-9], False),
        ("Transfer-Encoding: chunked", chunked(CHUNK), True),
        (f"Content-Length: {len(CHUNK) + 9}", CHUNK, False),
        ("Connection: close", b"", False),
        ("Connection: close", DONE, False),
    ],
)
def test_a_stream_that_breaks_is_told(head: str, body: bytes, reset: bool) -> None:
    with pytest.raises(EndpointError, match="the reply broke off"):
        asyncio.run(stream_of(head, body, reset=reset))
