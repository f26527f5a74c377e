"""What a model server's filter lets through, over real connections to a small application."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse

from memoirist.train.inference.request_filter import KEY_VARIABLE, MODELS_VARIABLE, RequestFilter

CHAT = "/v1/chat/completions"
TURNS = [{"role": "user", "content": "Who are you?"}]


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the path and the body that came through."""
    assert scope["type"] == "http"
    request = Request(scope, receive)
    content = await request.body()
    assert request.method == "GET" or len(content) == int(request.headers["content-length"])
    body = json.loads(content) if content else None
    await JSONResponse({"path": request.url.path, "body": body})(scope, receive, send)


class Server:
    """The small application behind the filter, on a port of this machine."""

    def __init__(self, *models: str, key: str = "") -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(MODELS_VARIABLE, json.dumps(models))
            patch.setenv(KEY_VARIABLE, key)
            config = uvicorn.Config(RequestFilter(echo), port=0, log_level="error", lifespan="off")
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run)
        self.thread.start()
        while not self.server.started:
            assert self.thread.is_alive()
            time.sleep(0.01)
        self.port = self.server.servers[0].sockets[0].getsockname()[1]

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(20)

    def ask(
        self, path: str, body: object = None, method: str = "", **headers: str
    ) -> tuple[int, Any]:
        """Return status and JSON of a request; without another, the body's type is JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"Content-Type": "application/json"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method or ("POST" if body else "GET"), path, content, sent)
            reply = connection.getresponse()
            text = reply.read()
            is_json = reply.headers.get_content_type() == "application/json"
            return reply.status, json.loads(text) if is_json else text.decode()
        finally:
            connection.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    running = Server("memoirist/ada", "memoirist/ada-base")
    yield running
    running.stop()


@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/v1/responses"])
def test_a_served_model_is_asked_with_the_body_as_it_was(server: Server, path: str) -> None:
    parts = [{"role": "user", "content": [{"type": "text", "text": "Grüße \U0001f600"}]}]
    body = {"model": "memoirist/ada", "messages": parts, "temperature": 0.5, "stop": ["x"]}
    assert server.ask(path, body) == (200, {"path": path, "body": body})
    switched = {**body, "chat_template_kwargs": {"enable_thinking": False}}
    assert server.ask(path, switched) == (200, {"path": path, "body": switched})


@pytest.mark.parametrize(
    "model", ["/etc", "../x", "memoirist/ada@main", "memoirist/ada ", "", 0, ["memoirist/ada"], {}]
)
def test_another_model_does_not_exist(server: Server, model: object) -> None:
    status, reply = server.ask(CHAT, {"model": model, "messages": TURNS})
    assert status == 404
    assert reply["error"]["code"] == "model_not_found"
    assert reply["error"]["param"] == "model"
    # The last of two fields of one name is the one that is checked, and the one that is passed on.
    twice = json.dumps({"model": "memoirist/ada"})[:-1] + f', "model": {json.dumps(model)}}}'
    assert server.ask(CHAT, twice.encode())[0] == 404


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("generation_config", '{"max_new_tokens": 9}'),
        ("chat_template", "{{ messages }}"),
        ("chat_template_kwargs", {"chat_template": "{{ messages }}"}),
        ("chat_template_kwargs", "x"),
        ("documents", []),
        ("lora_request", {"lora_path": "/etc"}),
        ("messages", [{"role": "user", "content": [{"type": "image_url", "image_url": "/etc"}]}]),
        ("messages", [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]),
        ("messages", ["text"]),
        ("input", [{"role": "user", "content": [{"type": "input_file", "file_id": "x"}]}]),
        ("input", [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]),
        ("input", [{"type": "input_image", "image_url": "x"}]),
        ("input", [{"role": "user", "type": "input_image", "image_url": "x"}]),
        ("input", [{"type": "function_call_output", "output": [{"type": "input_image"}]}]),
        ("input", [{"type": "function_call_output", "output": {"type": "input_image"}}]),
        ("input", [{"type": ["input_text"]}]),
        ("input", [{}]),
        ("input", {"type": "input_image"}),
        ("messages", {"role": "user", "content": [{"type": "image_url"}]}),
        ("messages", [{"role": "user", "content": {"type": "image_url"}}]),
        ("messages", [{"role": "user", "content": [{"type": ["text"]}]}]),
    ],
)
def test_files_and_other_templates_are_refused(server: Server, field: str, value: object) -> None:
    body = {"model": "memoirist/ada", "messages": TURNS, field: value}
    status, reply = server.ask(CHAT, body)
    assert (status, reply["error"]["param"]) == (400, field)


def test_calls_and_their_results_are_text(server: Server) -> None:
    asked = [
        {"type": "input_text", "text": "x"},
        {"type": "message", "role": "user", "content": "x"},
        {"type": "reasoning", "summary": []},
        {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "1", "output": "x"},
        {"type": "function_call_output", "output": [{"type": "input_text", "text": "x"}]},
    ]
    calls = [{"role": "assistant", "content": None, "tool_calls": []}]
    for field, value in (("input", asked), ("input", "x"), ("messages", calls)):
        assert server.ask("/v1/responses", {"model": "memoirist/ada", field: value})[0] == 200


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"not json", {}, 400),
        (b"[1]", {}, 400),
        (b"[" * 100_000, {}, 400),
        (b'{"model": "memoirist/ada"}', {"Content_Type": "text/plain"}, 415),
        (b'{"model": "memoirist/ada"}', {"Content_Type": ""}, 415),
        (b'{"model": "memoirist/ada"}', {"Content_Type": "application/json; charset=utf-8"}, 200),
        (b" " * (17 << 20), {}, 413),
        (b'{"model": "memoirist/ada"}', {"Host": "evil.example"}, 400),
        (b'{"model": "memoirist/ada"}', {"Host": "127.0.0.1.evil.example:80"}, 400),
        (b'{"model": "memoirist/ada"}', {"Host": "localhost:80"}, 200),
    ],
)
def test_a_body_is_json_and_comes_to_this_machine(
    server: Server, body: bytes, headers: dict[str, str], status: int
) -> None:
    assert server.ask(CHAT, body, **headers)[0] == status


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/load_model"), ("POST", "/reset"), ("POST", "/v1/systemone"), ("GET", "/docs"),
        ("POST", "/v1/audio/transcriptions"), ("GET", "/openapi.json"), ("OPTIONS", CHAT),
        ("GET", CHAT), ("POST", "/v1/load_lora_adapter"), ("POST", f"{CHAT}/"), ("PUT", CHAT),
        ("POST", "/v1/../load_model"), ("POST", "/%6coad_model"), ("DELETE", "/v1/models"),
    ],
)  # fmt: skip
def test_other_routes_are_closed(server: Server, method: str, path: str) -> None:
    status, reply = server.ask(path, {"model": "memoirist/ada"}, method)
    assert (status, reply["error"]["code"]) == (404, "unknown_url")


def test_health_and_the_list_of_models_are_open(server: Server) -> None:
    assert server.ask("/health")[0] == 200
    assert server.ask("/v1/models") == (200, {"path": "/v1/models", "body": None})
    assert server.ask(CHAT, {"messages": TURNS})[1]["error"]["code"] == "model_required"


def test_no_socket_stays_open(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as line:
        line.sendall(
            b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        assert line.recv(64).split()[1] in {b"403", b"404"}


def test_one_model_need_not_be_named_and_a_key_is_asked_for() -> None:
    server = Server("memoirist/ada", key="s3cret")
    try:
        right = {"Authorization": "Bearer s3cret"}
        status, reply = server.ask(CHAT, {"messages": TURNS}, **right)
        assert (status, reply["body"]["model"]) == (200, "memoirist/ada")
        for wrong in ("", "Bearer ", "Bearer s3cre", "Bearer s3cret2", "s3cret", "bearer s3cret"):
            status, reply = server.ask(CHAT, {"messages": TURNS}, Authorization=wrong)
            assert (status, reply["error"]["code"]) == (401, "invalid_api_key")
            assert "s3cret" not in json.dumps(reply)
        assert server.ask("/v1/models")[0] == 401
        assert server.ask("/load_model", {"model": "x"})[0] == 401
        assert server.ask("/load_model", {"model": "x"}, **right)[0] == 404
    finally:
        server.stop()
