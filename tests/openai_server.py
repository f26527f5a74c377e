"""A real local server of the OpenAI protocol that plays the interviewer, with scripted faults.

Try the LLM path by hand: `python -m tests.openai_server --port 8089 --latency 0.2`, then
`memoirist ask --base-url http://127.0.0.1:8089/v1 --model interviewer`.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import random
import re
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import web

_MATERIAL = re.compile(r"(<material-[0-9a-f]+>)\n(.*?)\n</material-", re.DOTALL)
_MARK = re.compile(r"\bmark-[a-z0-9]+\b")
_OPENERS = (
    "What do you remember", "How did you feel", "Why do you suppose people asked", "Tell me more",
    "Could you explain", "What would you advise", "Do you believe people are right",
    "When did you first hear", "Where were you", "Which lesson would you pass on",
    "Looking back, what was said", "Were you ever afraid to speak", "Describe what you saw",
    "In your view, who cares", "Has your opinion changed", "Walk me through what you know",
)  # fmt: skip


@dataclass(slots=True)
class Script:
    """How the server behaves; `faults` are met by the first requests, one each, in order.

    `odds` gives each later request a fault with that probability, by `seed` and request number.
    Known faults: 429, 500, 503, 400, 401, 403, 404, context, quota, malformed, truncated, schema,
    prose, think, fence, no_choices, refusal, hang, drop, cut, not_answer, leak, empty.
    """

    models: Sequence[str] = ("interviewer",)
    latency_seconds: float = 0.0
    faults: Sequence[str] = ()
    always: str | None = None
    odds: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0
    retry_after_seconds: float | None = 0.2
    refuses_forms: Sequence[str] = ()
    hang_seconds: float = 30.0
    probe_faults: bool = False


@dataclass(slots=True)
class Seen:
    """What the server has met so far."""

    requests: int = 0
    probes: int = 0
    in_flight: int = 0
    most_in_flight: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    authorizations: set[str] = field(default_factory=set)


class OpenAIServer:
    """Serve 127.0.0.1 on a free port from a thread; a context manager that stops by itself."""

    def __init__(self, script: Script | None = None, port: int = 0) -> None:
        self.script = script or Script()
        self.seen = Seen()
        self.port = port
        self._faults = deque(self.script.faults)
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(10):
            raise RuntimeError("the test server did not start within 10 seconds")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def wait(self) -> None:
        """Serve until interrupted."""
        while self._thread.is_alive():
            self._thread.join(0.5)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._run())
        self._loop.close()

    async def _run(self) -> None:
        self._stop = asyncio.Event()
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/chat/completions", self._chat)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port, backlog=4096)
        await site.start()
        self.port = runner.addresses[0][1]
        self._ready.set()
        await self._stop.wait()
        await runner.cleanup()

    async def _models(self, request: web.Request) -> web.Response:
        if self.script.always in {"401", "403"}:
            return self._refuse(int(self.script.always), request)
        rows = [{"id": name, "object": "model", "created": 0, "owned_by": "tests"}
                for name in self.script.models]  # fmt: skip
        return web.json_response({"object": "list", "data": rows})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        seen = self.seen
        seen.authorizations.add(request.headers.get("Authorization", ""))
        is_probe = _MATERIAL.search(body["messages"][-1]["content"]) is None and (
            len(body["messages"]) == 1
        )
        if is_probe:
            seen.probes += 1
        else:
            seen.requests += 1
            seen.bodies.append(body)
            seen.times.append(time.monotonic())
        seen.in_flight += 1
        seen.most_in_flight = max(seen.most_in_flight, seen.in_flight)
        try:
            response = await self._answer(request, body, is_probe=is_probe)
        finally:
            seen.in_flight -= 1
        seen.statuses[response.status] += 1
        return response

    async def _answer(
        self, request: web.Request, body: dict[str, Any], *, is_probe: bool
    ) -> web.StreamResponse:
        await asyncio.sleep(self.script.latency_seconds)
        form = body.get("response_format", {}).get("type", "text")
        if form in self.script.refuses_forms:
            return self._error(400, f"response_format of type {form!r} is not supported")
        if body["model"] not in self.script.models:
            return self._error(
                404, f"The model {body['model']!r} does not exist", "model_not_found"
            )
        fault = None if is_probe and not self.script.probe_faults else self._fault()
        if fault is not None and fault.isdigit():
            return self._refuse(int(fault), request)
        if fault in _BREAKS:
            return await _BREAKS[fault](self, request)
        text = _TEXTS.get(fault or "", _good)(_material(body), body)
        return web.json_response(_completion(text, fault, body))

    def _fault(self) -> str | None:
        if self.script.always is not None:
            return self.script.always
        if self._faults:
            return self._faults.popleft() or None
        draw = random.Random(f"{self.script.seed} {self.seen.requests}").random()
        for fault, share in self.script.odds.items():
            draw -= share
            if draw < 0:
                return fault
        return None

    def _refuse(self, status: int, request: web.Request) -> web.Response:
        words = {
            400: "Invalid value for 'top_k'",
            401: f"Incorrect API key provided: {request.headers.get('Authorization', '')[7:]}",
            403: "Project is not allowed here",
            404: "Not found",
            429: "Rate limit reached for requests",
        }.get(status, "The server had an error while processing your request")
        response = self._error(status, words)
        if status in {429, 503} and self.script.retry_after_seconds is not None:
            response.headers["Retry-After"] = str(self.script.retry_after_seconds)
        return response

    @staticmethod
    def _error(status: int, words: str, code: str | None = None) -> web.Response:
        error = {"message": words, "type": "error", "param": None, "code": code}
        return web.json_response({"error": error}, status=status)

    async def _hang(self, _request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(self.script.hang_seconds)
        return self._error(500, "late")

    async def _drop(self, request: web.Request) -> web.StreamResponse:
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=500)

    async def _truncate(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.content_length = 4000
        await response.prepare(request)
        await response.write(b'{"id": "x", "choices": [{"mess')
        if request.transport is not None:
            request.transport.close()
        return response

    async def _malformed(self, _request: web.Request) -> web.StreamResponse:
        return web.Response(text='{"id": "x", "choices": [', content_type="application/json")

    async def _context(self, _request: web.Request) -> web.StreamResponse:
        return self._error(400, "maximum context length is 4096 tokens", "context_length_exceeded")

    async def _quota(self, _request: web.Request) -> web.StreamResponse:
        return self._error(429, "You exceeded your current quota", "insufficient_quota")


_Break = Callable[[OpenAIServer, web.Request], Awaitable[web.StreamResponse]]
_BREAKS: dict[str, _Break] = {
    "hang": OpenAIServer._hang,
    "drop": OpenAIServer._drop,
    "truncated": OpenAIServer._truncate,
    "malformed": OpenAIServer._malformed,
    "context": OpenAIServer._context,
    "quota": OpenAIServer._quota,
}


def _material(body: Mapping[str, Any]) -> str:
    """Return the passage of a request: the last delimited text of its user message."""
    users = [m["content"] for m in body["messages"] if m["role"] == "user"]
    found = [match for text in users[:1] for match in _MATERIAL.finditer(text)]
    return found[-1].group(2) if found else ""


def _questions(material: str) -> list[dict[str, str]]:
    """Return three questions that differ by passage; one repeats the passage's mark, if any."""
    digest = hashlib.sha256(material.encode()).hexdigest()
    seed = random.Random(digest)
    if re.search(r"[\u4e00-\u9fff]", material):
        tails = ("您最难忘的是哪一刻？", "后来又怎么样了？", "您当时心里怎么想？")
        spoken = ("story", "follow-up", "feeling")
        return [
            {"type": kind, "text": f"说起第{int(digest[:3], 16)}件往事，{tail}"}
            for kind, tail in zip(spoken, tails, strict=True)
        ]
    mark = _MARK.search(material)
    name = mark.group() if mark else f"number {digest[:8]}"
    openers = seed.sample(_OPENERS, 3)
    kinds = seed.sample(("why", "how", "story", "opinion", "advice", "feeling", "follow-up"), 3)
    return [
        {"type": kind, "text": f"{opener} about {name}?"}
        for kind, opener in zip(kinds, openers, strict=True)
    ]


def _good(material: str, _body: Mapping[str, Any]) -> str:
    reply = {"is_answer": True, "confidence": 0.9, "questions": _questions(material)}
    return json.dumps(reply, ensure_ascii=False)


def _leak(material: str, _body: Mapping[str, Any]) -> str:
    text = " ".join(material.split()[:20]) + "?"
    reply = {"is_answer": True, "confidence": 1, "questions": [{"type": "why", "text": text}]}
    return json.dumps(reply)


_TEXTS: dict[str, Callable[[str, Mapping[str, Any]], str]] = {
    "schema": lambda _m, _b: '{"question_list": 7, "is_answer": "perhaps"}',
    "prose": lambda m, b: f"Certainly! Here are the questions:\n\n{_good(m, b)}\n\nEnjoy {{them}}!",
    "think": lambda m, b: f'<think>Maybe {{"questions": []}}? No.</think>\n{_good(m, b)}',
    "fence": lambda m, b: f"```json\n{_good(m, b)}\n```",
    "lone": lambda _m, _b: "What do you remember best?",
    "chatter": lambda _m, _b: "I am sorry, I would rather talk about the weather.",
    "cut": lambda m, b: _good(m, b)[:40],
    "not_answer": lambda _m, _b: '{"is_answer": false, "confidence": 0.8, "questions": []}',
    "leak": _leak,
    "empty": lambda _m, _b: "",
}


def _completion(text: str, fault: str | None, body: Mapping[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if fault == "refusal":
        message = {"role": "assistant", "content": None, "refusal": "I cannot help with that."}
    finish = "length" if fault == "cut" else "stop"
    choices = [{"index": 0, "message": message, "finish_reason": finish, "logprobs": None}]
    asked = sum(len(m["content"]) for m in body["messages"]) // 4
    return {
        "id": "chatcmpl-test",
        "object": "chat.completion",
        "created": 0,
        "model": body["model"],
        "choices": [] if fault == "no_choices" else choices,
        "usage": {
            "prompt_tokens": asked,
            "completion_tokens": len(text) // 4,
            "total_tokens": asked + len(text) // 4,
        },
    }


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8089)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each reply")
    parser.add_argument("--model", action="append", help="name of a served model; may repeat")
    parser.add_argument("--fault", action="append", default=[], metavar="NAME=SHARE",
                        help="share of requests that meet a fault, such as 429=0.1")  # fmt: skip
    flags = parser.parse_args()
    odds = {name: float(share) for name, _, share in (f.partition("=") for f in flags.fault)}
    models = tuple(flags.model or ("interviewer",))
    script = Script(models=models, latency_seconds=flags.latency, odds=odds)
    with OpenAIServer(script, port=flags.port) as server:
        sys.stdout.write(f"serving {server.base_url} (model {models[0]}); Ctrl-C stops\n")
        sys.stdout.flush()
        try:
            server.wait()
        except KeyboardInterrupt:
            sys.stdout.write(f"served {server.seen.requests} requests\n")


if __name__ == "__main__":
    main()
