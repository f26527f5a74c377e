"""Why a request has no usable reply: the causes in words, each with the next step that fits it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from memoirist.generators.client.http_errors import RequestFailed
from memoirist.generators.settings import InterviewSettings

ReplyCause = Literal[
    "cut_off", "cut_off_thinking", "thoughts_only", "empty", "no_choice", "refused", "filtered",
    "unreadable", "too_long", "timeout", "busy", "server", "broken", "unreachable", "stopped",
]  # fmt: skip


class _Words(NamedTuple):
    what: str
    next_step: str


_OTHER_MODEL = "name another --model"
_AGAIN = "run the same command again, with a smaller --max-concurrency"
_NO_THOUGHTS = (
    "turn thinking off with the server's own key, such as"
    " --set 'interview.extra_body={{chat_template_kwargs={{enable_thinking=false}}}}', or name a"
    " --model that does not think"
)
_WORDS: Mapping[str, _Words] = {
    "cut_off": _Words(
        "the reply was cut off at the token limit", "raise interview.max_reply_tokens to {double}"
    ),
    "cut_off_thinking": _Words(
        "the model's thoughts used up the token limit",
        f"raise interview.max_reply_tokens to {{ample}}, or {_NO_THOUGHTS}",
    ),
    "thoughts_only": _Words("the reply contains thoughts but no answer", _NO_THOUGHTS),
    "empty": _Words(
        "the reply is empty",
        f"check in the server's log that it applies the model's chat template, or {_OTHER_MODEL}",
    ),
    "no_choice": _Words(
        "the reply has no choices",
        f"read the server's or the provider's log for the reason, or {_OTHER_MODEL}",
    ),
    "refused": _Words(
        "the model refused", f"{_OTHER_MODEL}, or change the instructions in interview.prompt"
    ),
    "filtered": _Words(
        "the server's content filter stopped the reply",
        f"loosen the provider's content filter, or {_OTHER_MODEL}",
    ),
    "unreadable": _Words(
        "the reply is not the JSON that was asked for",
        f"{_OTHER_MODEL}; read the replies:"
        " memoirist sql \"SELECT reply FROM requests WHERE status = 'unusable'\"",
    ),
    "too_long": _Words(
        "the request is too long for the model",
        "name a --model with a longer context, or lower passages.max_words",
    ),
    "timeout": _Words(
        "no reply came in time",
        f"raise interview.request_timeout_seconds to {{seconds:g}}, or {_AGAIN}",
    ),
    "busy": _Words("the server was busy", _AGAIN),
    "server": _Words(
        "the server answered with an error",
        "read the server's log, and run the same command again",
    ),
    "broken": _Words("the connection or the reply broke off", _AGAIN),
    "unreachable": _Words(
        "the server does not answer", "start the server, and run the same command again"
    ),
    "stopped": _Words("the run was stopped before a reply came", "run the same command again"),
}
_FILTERS = ("content_filter", "content_policy", "content management policy")
# Room for thoughts of some length; those of a question seldom take more.
_AMPLE_TOKENS = 8192


def cause_in_words(cause: str) -> str:
    """Return a cause in words; one without words here is the name of a rule."""
    words = _WORDS.get(cause)
    return words.what if words else cause.replace("_", " ")


def cause_next_step(cause: ReplyCause, settings: InterviewSettings) -> str:
    """Return what helps against a cause under these settings."""
    limit = settings.max_reply_tokens
    return _WORDS[cause].next_step.format(
        double=2 * limit,
        ample=max(4 * limit, _AMPLE_TOKENS),
        seconds=2 * settings.request_timeout_seconds,
    )


def failure_cause(failure: RequestFailed) -> ReplyCause:
    """Return why a request got no reply in all its attempts."""
    if failure.permanent:
        message = str(failure).lower()
        return "filtered" if any(phrase in message for phrase in _FILTERS) else "too_long"
    return "server" if failure.cause == "refused" else failure.cause
