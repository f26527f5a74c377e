"""The responses to chat completions of any server: their text, token counts and faults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from memoirist.generators.client.http_errors import Fault, error_in_200, scrub

if TYPE_CHECKING:
    import httpx2
    from openai import AsyncOpenAI


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One reply with its token counts; `attempts` is how often the request was sent.

    `seconds` is the time on the wire over all attempts, without the pauses between them. `fault`
    says why the text cannot be used.
    """

    text: str
    fault: str | None
    attempts: int
    seconds: float
    tokens_in: int | None
    tokens_out: int | None


async def read_body(sdk: AsyncOpenAI, response: httpx2.Response) -> dict[str, Any] | Fault:
    """Return the JSON of a response with the status 200, or its fault.

    Some servers send events although no stream was requested. Raise the error of the JSON decoder
    or of the stream where the body is broken.
    """
    if "event-stream" in response.headers.get("content-type", ""):
        from openai import APIError, AsyncStream

        stream = AsyncStream[object](cast_to=object, response=response, client=sdk)
        try:
            return joined_stream([event async for event in stream])
        except APIError as error:
            return error_in_200(error.body, response.headers)
    body = response.json()
    if not isinstance(body, dict):
        return Fault("retry", f"a reply that is no JSON object: {str(body)[:80]!r}", cause="broken")
    if "choices" not in body and body.get("error"):
        return error_in_200(body["error"], response.headers)
    return body


def joined_stream(events: list[object]) -> dict[str, Any] | Fault:
    """Join the events of a streamed reply to the body of a plain one."""
    text: list[str] = []
    usage, finish = None, None
    for event in events:
        if not isinstance(event, dict):
            continue
        usage = event.get("usage") or usage
        choices = event.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                delta = choice.get("delta")
                text.append(_joined(delta.get("content")) if isinstance(delta, dict) else "")
                finish = choice.get("finish_reason") or finish
    if finish is None:
        return Fault("retry", "a stream that broke off", cause="broken")
    choice = {"message": {"content": "".join(text)}, "finish_reason": finish}
    return {"choices": [choice], "usage": usage}


def read_completion(body: dict[str, Any], attempts: int, seconds: float) -> Completion:
    """Return the text and the token counts of a reply, and a fault where the text is missing."""
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
