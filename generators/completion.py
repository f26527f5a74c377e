"""Read what a server answers to a chat completion, of whatever make the server is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from memoirist.generators.faults import Fault, scrub, status_fault
from memoirist.generators.transport import Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One reply with its price: attempts counts every time that the request was sent.

    `seconds` is the time on the wire over all attempts, without the waiting between them.
    """

    text: str
    fault: str | None
    attempts: int
    seconds: float
    tokens_in: int | None
    tokens_out: int | None


def parsed_body(answer: Answer) -> dict[str, Any] | Fault:
    """Return the JSON of an answer, or the fault that it is."""
    if answer.status != 200:
        return status_fault(answer.status, answer.headers, answer.body)
    if "event-stream" in answer.headers.get("content-type", ""):
        return _whole_stream(answer)
    try:
        body = json.loads(answer.body)
    except (ValueError, RecursionError):
        start = scrub(answer.body[:200].decode("utf-8", "replace"))[:80]
        return Fault("again", f"a reply that is no JSON: {start!r}", cause="broken")
    if not isinstance(body, dict):
        return Fault("again", f"a reply that is no JSON object: {str(body)[:80]!r}", cause="broken")
    if "choices" not in body and body.get("error"):
        return _error_in_200(body["error"], answer)
    return body


def _error_in_200(error: object, answer: Answer) -> Fault:
    """Sort an error that a proxy sends under the status 200, by the code it carries."""
    code = error.get("code") if isinstance(error, dict) else None
    digits = str(code) if code is not None else ""
    status = int(digits) if digits.isdigit() and 400 <= int(digits) < 600 else 500
    return status_fault(status, answer.headers, answer.body)


def _whole_stream(answer: Answer) -> dict[str, Any] | Fault:
    """Join the pieces of a reply from a server that streams even when it is not asked to."""
    text: list[str] = []
    whole: dict[str, Any] = {}
    finish, done = None, False
    for piece in _events(answer.body):
        if piece is None:
            done = True
            continue
        if piece.get("error"):
            return _error_in_200(piece["error"], answer)
        whole["usage"] = piece.get("usage") or whole.get("usage")
        choices = piece.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if not isinstance(choice, dict):
                continue
            delta = choice.get("delta")
            text.append(_joined(delta.get("content")) if isinstance(delta, dict) else "")
            finish = choice.get("finish_reason") or finish
    if not done and finish is None:
        return Fault("again", "a stream that broke off", cause="broken")
    whole["choices"] = [{"message": {"content": "".join(text)}, "finish_reason": finish}]
    return whole


def _events(body: bytes) -> Iterator[dict[str, Any] | None]:
    """Yield the JSON of each server-sent event, None for the end mark."""
    for line in body.decode("utf-8", "replace").splitlines():
        data = line.removeprefix("data:").strip()
        if not line.startswith("data:") or not data:
            continue
        if data == "[DONE]":
            yield None
            continue
        try:
            piece = json.loads(data)
        except ValueError:
            continue
        if isinstance(piece, dict):
            yield piece


def read_completion(body: dict[str, Any], attempts: int, seconds: float) -> Completion:
    """Take the text and the price out of a reply; whatever is missing becomes its fault."""
    text, fault = _text_of(body)
    usage = body.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return Completion(
        text=text,
        fault=fault,
        attempts=attempts,
        seconds=seconds,
        tokens_in=_count(usage.get("prompt_tokens")),
        tokens_out=_count(usage.get("completion_tokens")),
    )


def _text_of(body: dict[str, Any]) -> tuple[str, str | None]:
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        return "", "the reply holds no choice"
    message = choices[0].get("message")
    message = message if isinstance(message, dict) else {}
    text = _joined(message.get("content"))
    finish = choices[0].get("finish_reason")
    if message.get("refusal"):
        refusal = str(message["refusal"])
        return refusal, f"the model refused: {scrub(refusal)[:120]}"
    if finish == "length":
        return text, "the reply was cut off at the token limit"
    if finish == "content_filter":
        return text, "the server's content filter stopped the reply"
    return text, None


def _joined(content: object) -> str:
    """Return the text of a message, whose content some servers give in parts."""
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, dict))
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def _count(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if value >= 0 else None
