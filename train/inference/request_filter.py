"""Let through to a model server only what is for the models that it was started with.

`transformers serve` loads any folder or hub id that a request names as its model, opens images and
sounds by path or address, takes another chat template from a request, and has routes that load and
unload models; vLLM has more. None of that is needed to talk to a persona.
"""

from __future__ import annotations

import hmac
import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# The names of this machine under which a server on 127.0.0.1 answers: another name that points
# there is another site's (DNS rebinding).
HOSTS = ("127.0.0.1", "localhost")
# What the server's process is told: the names of its models as a JSON list, and the key if any.
MODELS_VARIABLE = "MEMOIRIST_SERVED_MODELS"
KEY_VARIABLE = "MEMOIRIST_API_KEY"
_ROUTES = {
    ("GET", "/health"),
    ("GET", "/v1/models"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/completions"),
    ("POST", "/v1/responses"),
}
_MAX_BODY_BYTES = 16 << 20
# Fields that replace the model's own template or settings: the disclosure is part of the template.
_CLOSED_FIELDS = frozenset({"chat_template", "documents", "generation_config", "lora_request"})
_TEMPLATE_SWITCHES = frozenset({"enable_thinking", "reasoning_effort"})
_TEXT_PARTS = frozenset({"text", "input_text", "output_text", "refusal"})
_ITEMS = _TEXT_PARTS | {"message", "function_call", "function_call_output", "reasoning"}


class RequestRefused(Exception):
    """A request that goes no further; the fields are those of OpenAI's error objects."""

    def __init__(self, status: int, message: str, code: str, param: str | None = None) -> None:
        """Hold the status and the error object."""
        super().__init__(message)
        self.status = status
        self.error = {
            "message": message,
            "type": "invalid_request_error",
            "param": param,
            "code": code,
        }


class RequestFilter:
    """ASGI middleware that answers what it refuses itself, with OpenAI's error objects.

    It reads the models' names and the key from the environment, because vLLM takes a middleware by
    its name alone.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Read the environment; raises KeyError where it names no models."""
        self.app = app
        self.models: list[str] = json.loads(os.environ[MODELS_VARIABLE])
        self.key = os.environ.get(KEY_VARIABLE, "")
        self.inner = TrustedHostMiddleware(self._filtered, HOSTS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on if its host, key, route and body are right."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] == "http":
            await self.inner(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _filtered(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        try:
            self._check_route(scope, headers)
            if scope["method"] == "POST":
                body = self._checked(await _read(receive), headers)
                scope, receive = _replaced(scope, body), _replay(body, receive)
        except RequestRefused as refused:
            challenge = {"WWW-Authenticate": "Bearer"} if refused.status == 401 else None
            response = JSONResponse({"error": refused.error}, refused.status, challenge)
            await response(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _check_route(self, scope: Scope, headers: Mapping[bytes, bytes]) -> None:
        expected = f"Bearer {self.key}".encode()
        if self.key and not hmac.compare_digest(headers.get(b"authorization", b""), expected):
            message = "The API key is missing or wrong: send it as `Authorization: Bearer KEY`"
            raise RequestRefused(401, message, "invalid_api_key")
        method, path = scope["method"], scope["path"]
        if (method, path) not in _ROUTES:
            message = f"Unknown request URL: {method} {path[:200]}"
            raise RequestRefused(404, message, "unknown_url")

    def _checked(self, content: bytes, headers: Mapping[bytes, bytes]) -> bytes:
        """Return the body as it is passed on, encoded again: what is checked is what is read."""
        # A page in a browser sends JSON to another site only after asking, and is not answered.
        if headers.get(b"content-type", b"").split(b";")[0].strip().lower() != b"application/json":
            raise RequestRefused(415, "Send the body as application/json", "wrong_content_type")
        try:
            body = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise RequestRefused(400, "The body is not JSON", "invalid_json") from error
        if not isinstance(body, dict):
            raise RequestRefused(400, "The body is not a JSON object", "invalid_json")
        self._check_model(body)
        _check_fields(body)
        return json.dumps(body).encode()

    def _check_model(self, body: dict[str, Any]) -> None:
        """Raise RequestRefused for a model that is not served; the only one need not be named."""
        if body.get("model") is None and len(self.models) == 1:
            body["model"] = self.models[0]
        model = body.get("model")
        if model is None:
            names = " or ".join(self.models)
            raise RequestRefused(400, f"Name the model: {names}", "model_required", "model")
        if model not in self.models:
            message = f"The model {str(model)[:200]!r} does not exist; see GET /v1/models"
            raise RequestRefused(404, message, "model_not_found", "model")


def _check_fields(body: Mapping[str, Any]) -> None:
    """Raise RequestRefused for what is no text, and for another template than the model's."""
    switches = body.get("chat_template_kwargs") or {}
    closed = sorted(_CLOSED_FIELDS & body.keys())
    if not isinstance(switches, dict) or switches.keys() - _TEMPLATE_SWITCHES:
        closed.append("chat_template_kwargs")
    if closed:
        message = f"The field {closed[0]!r} is not allowed: leave it out"
        raise RequestRefused(400, message, "unsupported_parameter", closed[0])
    for field in ("messages", "input"):
        if not _are_all(body.get(field), _is_text):
            message = f"The {field} contain something other than text: this model reads only text"
            raise RequestRefused(400, message, "unsupported_content", field)


def _are_all(value: object, test: Callable[[object], bool]) -> bool:
    """Tell whether a value is a text, nothing, or a list of which each item passes a test."""
    return isinstance(value, str | None) or (isinstance(value, list) and all(map(test, value)))


def _is_text(item: object) -> bool:
    """Tell whether a message has nothing but text: no image, sound or file to be opened."""
    if not isinstance(item, dict):
        return False
    kind = item.get("type") or ("message" if item.get("role") else None)
    return str(kind) in _ITEMS and all(
        _are_all(item.get(field), _is_text_part) for field in ("content", "output")
    )


def _is_text_part(part: object) -> bool:
    return isinstance(part, dict) and str(part.get("type")) in _TEXT_PARTS


async def _read(receive: Receive) -> bytes:
    content = bytearray()
    while True:
        message = await receive()
        content += message.get("body", b"")
        if len(content) > _MAX_BODY_BYTES:
            limit = _MAX_BODY_BYTES >> 20
            raise RequestRefused(413, f"The body is larger than {limit} MB", "body_too_large")
        if message["type"] != "http.request" or not message.get("more_body", False):
            return bytes(content)


def _replaced(scope: Scope, body: bytes) -> Scope:
    """Return the scope of a request with another body."""
    kept = [
        (name, value)
        for name, value in scope["headers"]
        if name not in {b"content-length", b"transfer-encoding"}
    ]
    return {**scope, "headers": [*kept, (b"content-length", str(len(body)).encode())]}


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a channel that gives the body first, and then what the connection gives."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return messages.pop() if messages else await receive()

    return replayed
