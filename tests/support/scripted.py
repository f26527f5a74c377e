"""A local server of the OpenAI protocol whose replies a test writes by itself."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from memoirist.generators.client.probe import PROBE_TEXT

Say = Callable[[Mapping[str, Any]], str]


class Scripted:
    """Serve `say(body)` as the reply to every chat completion; a context manager."""

    def __init__(self, say: Say) -> None:
        self.say = say
        self.bodies: list[dict[str, Any]] = []
        outer = self

        class Answers(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.reply({"object": "list", "data": [{"id": "interviewer", "object": "model"}]})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                # What is counted are the real requests, not the probe.
                said = '{"is_answer": false}'
                if not body["messages"][-1]["content"].endswith(PROBE_TEXT):
                    outer.bodies.append(body)
                    said = outer.say(body)
                message = {"role": "assistant", "content": said}
                choice = {"index": 0, "message": message, "finish_reason": "stop"}
                usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
                whole = {"id": "x", "object": "chat.completion", "created": 0, "usage": usage}
                self.reply({**whole, "model": body["model"], "choices": [choice]})

            def reply(self, value: dict[str, Any]) -> None:
                raw = json.dumps(value).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
