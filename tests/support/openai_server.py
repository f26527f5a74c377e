"""A real local server of the OpenAI protocol that plays the interviewer, with scripted faults.

Try the LLM path by hand: `python -m tests.support.openai_server --port 8089 --latency 0.2`, then
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

from memoirist.generators.client.probe import PROBE_TEXT
from tests.support.http_server import Line, Request, Response
from tests.support.openai_batches import Batches

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
    Known faults: any status of 400 and more, the keys of _BREAKS, _TEXTS and _FINISHES, no_choices,
    refusal, reasoned. `cap` refuses what is more than so many in flight, after `cap_seconds`;
    `quick_refusals` sends random 429s and 503s without the latency too. `wants` reads a body and
    gives the message of a refusal (400, or the status beside it), or the fault that it meets.
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
    cap: int | None = None
    cap_status: int = 429
    cap_seconds: float = 0.0
    quick_refusals: bool = False
    no_usage: bool = False
    always_streams: bool = False
    wants: Callable[[Mapping[str, Any]], str | tuple[int, str] | None] = lambda _body: None
    first_token_seconds: float = 0.0
    allowance_used_up: str = ""
    keeps_bodies: bool = True


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
    marks: set[str] = field(default_factory=set)
    first_at: float | None = None
    last_at: float | None = None

    def met(self, body: dict[str, Any], *, whole: bool) -> None:
        """Count a request; its body and time are kept where a test wants to read them."""
        self.requests += 1
        self.first_at = self.first_at or time.time()
        if whole:
            self.bodies.append(body)
            self.times.append(time.monotonic())
        mark = _MARK.search(_material(body))
        if mark is not None:
            self.marks.add(mark.group())


class OpenAIServer:
    """Serve 127.0.0.1 on a free port from a thread; a context manager that stops by itself."""

    def __init__(self, script: Script | None = None, port: int = 0) -> None:
        self.script = script or Script()
        self.seen = Seen()
        self.batches = Batches(_batched)
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
        if self._stop is not None and self._thread.is_alive():
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
        loop = asyncio.get_running_loop()
        lines: set[Line] = set()
        server = await loop.create_server(
            lambda: Line(self._handle, lines), "127.0.0.1", self.port, backlog=4096
        )
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for line in lines:
            line.transport.abort()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0.01)

    async def _handle(self, request: Request, line: Line) -> Response | None:
        """Answer one path of the protocol."""
        if request.path.startswith(("/v1/files", "/v1/batches")):
            return await self.batches.handle(request, line)
        route = _ROUTES.get((request.method, request.path.partition("?")[0]))
        if route is None:
            return self._error(404, f"no {request.method} {request.path} here")
        return await route(self, request, line)

    async def _models(self, request: Request, _line: Line) -> Response:
        if self.script.always in {"401", "403"}:
            return self._refuse(int(self.script.always), request)
        if not self.script.models:  # a server that has no such list
            return self._refuse(404, request)
        rows = [{"id": name, "object": "model", "created": 0, "owned_by": "tests"}
                for name in self.script.models]  # fmt: skip
        return Response({"object": "list", "data": rows})

    async def _stats(self, _request: Request, _line: Line) -> Response:
        """Tell what came, to a benchmark whose server is another process."""
        seen = self.seen
        return Response({
            "requests": seen.requests, "probes": seen.probes, "most": seen.most_in_flight,
            "statuses": {str(status): n for status, n in seen.statuses.items()},
            "marks": len(seen.marks), "first": seen.first_at, "last": seen.last_at,
            "cpu_seconds": time.process_time(),
        })  # fmt: skip

    async def _chat(self, request: Request, line: Line) -> Response | None:
        body = request.json()
        seen, script = self.seen, self.script
        seen.authorizations.add(request.header("Authorization"))
        is_probe = body["messages"][-1]["content"].endswith(PROBE_TEXT)
        if is_probe:
            seen.probes += 1
        else:
            seen.met(body, whole=script.keeps_bodies)
        if script.cap is not None and seen.in_flight >= script.cap:
            response: Response | None = await self._over_cap(request)
        else:
            seen.in_flight += 1
            seen.most_in_flight = max(seen.most_in_flight, seen.in_flight)
            try:
                response = await self._answer(request, line, body, is_probe=is_probe)
            finally:
                seen.in_flight -= 1
        seen.statuses[response.status if response else 0] += 1
        seen.last_at = time.time()
        return response

    async def _over_cap(self, request: Request) -> Response:
        await asyncio.sleep(self.script.cap_seconds)
        return self._refuse(self.script.cap_status, request)

    async def _answer(
        self, request: Request, line: Line, body: dict[str, Any], *, is_probe: bool
    ) -> Response | None:
        script = self.script
        fault = None if is_probe and not script.probe_faults else self._fault()
        if not (script.quick_refusals and fault in {"429", "503"}):
            await asyncio.sleep(script.latency_seconds)
        wish = script.wants(body)
        if wish in {*_TEXTS, *_FINISHES, "reasoned"}:
            fault, wish = str(wish), None
        refusal = self._refused_form(body, wish)
        if refusal is not None:
            return refusal
        if fault is not None and fault.isdigit():
            return self._refuse(int(fault), request)
        if fault in _BREAKS:
            return await _BREAKS[fault](self, request, line)
        text = _TEXTS.get(fault or "", _good)(_material(body), body)
        whole = _completion(text, fault, body)
        if script.no_usage:
            del whole["usage"]
        if script.allowance_used_up and not is_probe:
            return Response(whole, headers={
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": script.allowance_used_up})  # fmt: skip
        if body.get("stream") or script.always_streams:
            return await self._stream(line, whole)
        return Response(whole)

    def _refused_form(
        self, body: dict[str, Any], wish: str | tuple[int, str] | None
    ) -> Response | None:
        form = body.get("response_format", {}).get("type", "text")
        if form in self.script.refuses_forms:
            return self._error(400, f"response_format of type {form!r} is not supported")
        if wish is not None:
            return self._error(*((400, wish) if isinstance(wish, str) else wish))
        if body.get("model") not in self.script.models:
            named = body.get("model")
            return self._error(404, f"The model {named!r} does not exist", "model_not_found")
        return None

    async def _stream(self, line: Line, whole: dict[str, Any]) -> None:
        """Send the reply in pieces, as server-sent events; the first may be slow."""
        line.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        await asyncio.sleep(self.script.first_token_seconds)
        choice = whole["choices"][0] if whole["choices"] else {"message": {}}
        deltas: list[dict[str, Any]] = [
            {"delta": {name: text[n : n + 40]}}
            for name, text in choice["message"].items()
            if name != "role" and text
            for n in range(0, len(text), 40)
        ]
        deltas.append({"delta": {}, "finish_reason": choice.get("finish_reason", "stop")})
        for delta in deltas:
            line.write(_event(json.dumps({"id": whole["id"], "choices": [delta]})))
        if "usage" in whole:
            line.write(_event(json.dumps({"choices": [], "usage": whole["usage"]})))
        line.write(_event("[DONE]") + b"0\r\n\r\n")

    def _fault(self) -> str | None:
        if self.script.always is not None:
            return self.script.always
        if self._faults:
            return self._faults.popleft() or None
        if not self.script.odds:
            return None
        draw = random.Random(f"{self.script.seed} {self.seen.requests}").random()
        for fault, share in self.script.odds.items():
            draw -= share
            if draw < 0:
                return fault
        return None

    def _refuse(self, status: int, request: Request) -> Response:
        words = {
            400: "Invalid value for 'top_k'",
            401: f"Incorrect API key provided: {request.header('Authorization')[7:]}",
            403: "Project is not allowed here",
            404: "Not found",
            429: "Rate limit reached for requests",
        }.get(status, "The server had an error while processing your request")
        response = self._error(status, words)
        if status in {429, 503} and self.script.retry_after_seconds is not None:
            response.headers = {"Retry-After": str(self.script.retry_after_seconds)}
        return response

    @staticmethod
    def _error(status: int, words: str, code: str | None = None) -> Response:
        error = {"message": words, "type": "error", "param": None, "code": code}
        return Response({"error": error}, status)

    async def _hang(self, _request: Request, _line: Line) -> Response | None:
        await asyncio.sleep(self.script.hang_seconds)
        return self._error(500, "late")

    async def _drop(self, _request: Request, line: Line) -> Response | None:
        line.transport.abort()
        return None

    async def _truncate(self, _request: Request, line: Line) -> Response | None:
        line.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 4000\r\n\r\n"
            b'{"id": "x", "choices": [{"mess'
        )
        line.transport.close()
        return None

    async def _short(self, _request: Request, line: Line) -> Response | None:
        line.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n"
            b'{"id": "x", "choices": [{"message": {"content": "longer than it says"}}]}'
        )
        return None

    async def _gibberish(self, _request: Request, line: Line) -> Response | None:
        line.write(b"\x00\x01 this is no HTTP\r\n\r\n")
        return None

    async def _cut_stream(self, _request: Request, line: Line) -> Response | None:
        line.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
            b'data: {"choices": [{"delta": {"content": "{"}}]}\n\n'
        )
        line.transport.close()
        return None

    async def _error_in_stream(self, _request: Request, line: Line) -> Response | None:
        line.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
            b'data: {"choices": [{"delta": {"content": "{"}}]}\n\n'
            b'data: {"error": {"message": "out of memory", "code": 503}}\n\n'
        )
        line.transport.close()
        return None

    async def _malformed(self, _request: Request, _line: Line) -> Response | None:
        return Response(b'{"id": "x", "choices": [')

    async def _html(self, _request: Request, _line: Line) -> Response | None:
        page = b"<html><head><style>p{}</style></head><body><h1>502 Bad Gateway</h1></body></html>"
        return Response(page, 502, content_type="text/html")

    async def _page(self, _request: Request, _line: Line) -> Response | None:
        return Response(b"<!doctype html><title>Welcome</title>", content_type="text/html")

    async def _moved(self, _request: Request, _line: Line) -> Response | None:
        return Response(b"", 307, {"Location": "http://127.0.0.1:9/v1/chat/completions"})

    async def _error_in_200(self, _request: Request, _line: Line) -> Response | None:
        return Response({"error": {"message": "Provider returned error", "code": 502}})

    async def _context(self, _request: Request, _line: Line) -> Response | None:
        return self._error(400, "maximum context length is 4096 tokens", "context_length_exceeded")

    async def _quota(self, _request: Request, _line: Line) -> Response | None:
        return self._error(429, "You exceeded your current quota", "insufficient_quota")


_Route = Callable[[OpenAIServer, Request, Line], Awaitable[Response | None]]
_ROUTES: dict[tuple[str, str], _Route] = {
    ("GET", "/v1/models"): OpenAIServer._models,
    ("POST", "/v1/chat/completions"): OpenAIServer._chat,
    ("GET", "/stats"): OpenAIServer._stats,
}
_BREAKS: dict[str, _Route] = {
    "hang": OpenAIServer._hang,
    "drop": OpenAIServer._drop,
    "truncated": OpenAIServer._truncate,
    "short": OpenAIServer._short,
    "gibberish": OpenAIServer._gibberish,
    "cut_stream": OpenAIServer._cut_stream,
    "error_in_stream": OpenAIServer._error_in_stream,
    "malformed": OpenAIServer._malformed,
    "html": OpenAIServer._html,
    "page": OpenAIServer._page,
    "moved": OpenAIServer._moved,
    "error_in_200": OpenAIServer._error_in_200,
    "context": OpenAIServer._context,
    "quota": OpenAIServer._quota,
}


def _event(data: str) -> bytes:
    """Return one server-sent event as an HTTP chunk."""
    line = f"data: {data}\n\n".encode()
    return f"{len(line):x}\r\n".encode() + line + b"\r\n"


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


def _good(material: str, body: Mapping[str, Any]) -> str:
    """Return questions about a passage, or what else the request asks for."""
    if "needs_repair" in body["messages"][0]["content"]:
        return json.dumps({"needs_repair": False, "text": ""})
    if "no_spoiler" in body["messages"][0]["content"]:
        criteria = ("answers", "standalone", "natural", "no_spoiler")
        return json.dumps({name: {"reason": "as it should be", "grade": 4} for name in criteria})
    reply = {"is_answer": True, "confidence": 0.9, "questions": _questions(material)}
    return json.dumps(reply, ensure_ascii=False)


def _batched(body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    return 200, _completion(_good(_material(body), body), None, body)


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
    "open_think": lambda m, b: f"<think>Perhaps {_good(m, b)}, but then",
    **dict.fromkeys(("thoughts", "thoughts_cut", "no_choice_thinking"), lambda _m, _b: ""),
}


_THOUGHTS = 'The passage is about a mill, {"questions": []} would be too few. Now,'
_FINISHES = {
    "cut": "length",
    "open_think": "length",
    "thoughts_cut": "length",
    "filter": "content_filter",
    "broken_off": "error",
}


def _completion(text: str, fault: str | None, body: Mapping[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if fault == "refusal":
        message = {"role": "assistant", "content": None, "refusal": "I cannot help with that."}
    elif fault in {"thoughts", "thoughts_cut"}:
        message = {"role": "assistant", "content": None, "reasoning_content": _THOUGHTS}
    elif fault == "reasoned":
        message = {"role": "assistant", "content": "", "reasoning_content": text}
    finish = _FINISHES.get(fault or "", "stop")
    choices = [{"index": 0, "message": message, "finish_reason": finish, "logprobs": None}]
    asked = sum(len(m["content"]) for m in body["messages"]) // 4
    return {
        "id": "chatcmpl-test",
        "object": "chat.completion",
        "created": 0,
        "model": body["model"],
        "choices": [] if fault in {"no_choices", "no_choice_thinking"} else choices,
        "usage": {
            "prompt_tokens": asked,
            "completion_tokens": len(text) // 4,
            "total_tokens": asked + len(text) // 4,
            "completion_tokens_details": {
                "reasoning_tokens": 64 if fault == "no_choice_thinking" else 0
            },
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
    parser.add_argument("--cap", type=int, help="requests in flight that are served, at most")
    parser.add_argument("--retry-after", type=float, default=1.0, help="seconds, in each 429")
    parser.add_argument("--hang", type=float, default=60.0, help="seconds of the fault hang")
    parser.add_argument("--quick-refusals", action="store_true", help="429 without the latency")
    parser.add_argument("--no-usage", action="store_true", help="leave the tokens out")
    parser.add_argument("--always-streams", action="store_true", help="answer in events only")
    parser.add_argument("--first-token", type=float, default=0.0, help="seconds to the first event")
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    odds = {name: float(share) for name, _, share in (f.partition("=") for f in flags.fault)}
    models = tuple(flags.model or ("interviewer",))
    script = Script(
        models=models,
        latency_seconds=flags.latency,
        odds=odds,
        seed=flags.seed,
        cap=flags.cap,
        retry_after_seconds=flags.retry_after,
        hang_seconds=flags.hang,
        quick_refusals=flags.quick_refusals,
        no_usage=flags.no_usage,
        always_streams=flags.always_streams,
        first_token_seconds=flags.first_token,
        keeps_bodies=False,
    )
    with OpenAIServer(script, port=flags.port) as server:
        sys.stdout.write(f"serving {server.base_url} (model {models[0]}); Ctrl-C stops\n")
        sys.stdout.flush()
        try:
            server.wait()
        except KeyboardInterrupt:
            sys.stdout.write(f"served {server.seen.requests} requests\n")


if __name__ == "__main__":
    main()
