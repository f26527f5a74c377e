"""The responses to chat completions of any server: their text, token counts and faults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from memoirist.generators.client.http_errors import Fault, error_in_200, scrub
from memoirist.generators.client.reply_causes import ReplyCause, cause_in_words
from memoirist.generators.tasks.reply_parser import holds_thoughts, strip_reasoning

if TYPE_CHECKING:
    import httpx2
    from openai import AsyncOpenAI


# Reasons to end, as servers name them: OpenAI, Anthropic, Gemini, z.ai, DeepSeek, OpenRouter.
_CUT_OFF = frozenset({"length", "max_tokens", "model_context_window_exceeded"})
_FILTERED = frozenset({"content_filter", "sensitive", "safety", "prohibited_content", "recitation"})
_BROKEN_OFF = frozenset({"error", "insufficient_system_resource", "network_error"})
# Where servers put the thoughts of a model: vLLM and DeepSeek; Ollama and OpenRouter.
_THOUGHTS = ("reasoning_content", "reasoning", "thinking")


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One reply with its token counts; `attempts` is how often the request was sent.

    `seconds` is the time on the wire over all attempts, without the pauses between them. `fault`
    says why the text cannot be used, `cause` is its kind. `thinks`: the model has written thoughts;
    where these are all that came, they are the text, as some servers put the answer there.
    """

    text: str
    fault: str | None
    attempts: int
    seconds: float
    tokens_in: int | None
    tokens_out: int | None
    cause: ReplyCause | None = None
    thinks: bool = False

    @property
    def thinks_in_vain(self) -> bool:
        """Tell whether the model has written thoughts and no answer."""
        return self.thinks and (self.cause == "cut_off_thinking" or not strip_reasoning(self.text))


async def read_body(sdk: AsyncOpenAI, response: httpx2.Response) -> dict[str, Any] | Fault:
    """Return the JSON of a response with the status 200, or its fault.

    Some servers send events although no stream was requested. Raise the error of the JSON decoder
    or of the stream where the body is broken.
    """
    if "event-stream" in response.headers.get("content-type", ""):
        from openai import APIError, AsyncStream

        stream = AsyncStream[object](cast_to=object, response=response, client=sdk)
        try:
            events = [event async for event in stream]
        except APIError as error:
            return error_in_200(error.body, response.headers)
        return joined_stream(events, ended=b"[DONE]" in response.content)
    try:
        body = response.json()
    except (ValueError, RecursionError):
        start = scrub(response.text[:200])[:80]
        return Fault("retry", f"the reply is not JSON: {start!r}", cause="broken")
    if not isinstance(body, dict):
        return Fault("retry", f"the reply is not a JSON object: {str(body)[:80]!r}", cause="broken")
    return body_or_fault(body, response.headers)


def body_or_fault(body: dict[str, Any], headers: Mapping[str, str]) -> dict[str, Any] | Fault:
    """Return the body of a reply with the status 200, or the error of the server that it holds."""
    choice = _first_choice(body)
    error = body.get("error") if choice is None else choice.get("error")
    if error:
        return error_in_200(error, headers)
    finish = _finish(choice)
    if finish in _BROKEN_OFF:
        return Fault("retry", f"the server broke off the reply: {finish}", cause="server")
    return body


def joined_stream(events: list[object], *, ended: bool) -> dict[str, Any] | Fault:
    """Join the events of a streamed reply to the body of a plain one.

    `ended` says that the mark of the end came: some servers send it and no finish reason.
    """
    parts: dict[str, list[str]] = {"content": [], "refusal": [], _THOUGHTS[0]: []}
    usage, finish = None, None
    for event in events:
        if not isinstance(event, dict):
            continue
        usage = event.get("usage") or usage
        choices = event.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                delta = choice.get("delta")
                delta = delta if isinstance(delta, dict) else {}
                parts["content"].append(_joined(delta.get("content")))
                parts["refusal"].append(_joined(delta.get("refusal")))
                parts[_THOUGHTS[0]].append(_thoughts(delta))
                finish = choice.get("finish_reason") or finish
    if finish is None and not ended:
        return Fault("retry", "the stream broke off", cause="broken")
    message = {name: "".join(pieces) for name, pieces in parts.items()}
    choice = {"message": message, "finish_reason": finish}
    return body_or_fault({"choices": [choice], "usage": usage}, {})


def read_completion(body: dict[str, Any], attempts: int, seconds: float) -> Completion:
    """Return the text and the token counts of a reply, and a fault where the text is missing."""
    usage = body.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    choice = _first_choice(body)
    message = choice.get("message") if choice else None
    message = message if isinstance(message, dict) else {}
    text, thoughts = _joined(message.get("content")), _thoughts(message)
    thinks = bool(thoughts) or _reasoning_tokens(usage) > 0 or holds_thoughts(text)
    if thoughts and not text.strip():
        text = f"<think>{thoughts}"  # what does not end with an answer is read as thoughts
    refusal = scrub(str(message.get("refusal") or ""))
    cause = _cause(choice, refusal, thinks=thinks)
    return Completion(
        text=refusal or text,
        fault=None if cause is None else _fault(cause, refusal),
        cause=cause,
        thinks=thinks,
        attempts=attempts,
        seconds=seconds,
        tokens_in=_count(usage.get("prompt_tokens")),
        tokens_out=_count(usage.get("completion_tokens")),
    )


def _cause(choice: dict[str, Any] | None, refusal: str, *, thinks: bool) -> ReplyCause | None:
    """Return why a reply cannot be used; None where only its text can tell."""
    finish = _finish(choice)
    if refusal or finish == "refusal":
        return "refused"
    if finish in _CUT_OFF:
        return "cut_off_thinking" if thinks else "cut_off"
    if finish in _FILTERED:
        return "filtered"
    if choice is None:
        # Some proxies leave out the choice of a model that spends all its tokens on thoughts.
        return "cut_off_thinking" if thinks else "no_choice"
    return None


def _fault(cause: ReplyCause, refusal: str) -> str:
    what = cause_in_words(cause)
    return f"{what}: {refusal[:120]}" if refusal else what


def _first_choice(body: Mapping[str, Any]) -> dict[str, Any] | None:
    choices = body.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, dict) else None


def _finish(choice: Mapping[str, Any] | None) -> str:
    return str((choice or {}).get("finish_reason") or "").lower()


def _thoughts(message: Mapping[str, Any]) -> str:
    """Return the thoughts that a message or its delta holds beside the answer."""
    return next((text for name in _THOUGHTS if (text := _joined(message.get(name)))), "")


def _reasoning_tokens(usage: Mapping[str, Any]) -> int:
    details = usage.get("completion_tokens_details")
    return (_count(details.get("reasoning_tokens")) or 0) if isinstance(details, dict) else 0


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
