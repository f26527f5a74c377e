"""An endpoint, which is a server with one of its models, and the form of request that it wants.

Each want is found out once, by the probe or by the first refusal of a run, and is stored in the
table `endpoints` for the next run:

- it takes no JSON schema, or no response format at all: a simpler form, the prompt asks for JSON;
- it takes `max_completion_tokens` in place of `max_tokens`, or no temperature but its own;
- it only streams: the events are joined; their tokens are counted where it knows `stream_options`;
- it takes no system role: the instructions go into the first user message;
- its model thinks and gives no answer: thinking is turned off by the first switch of
  `thinking_switches.toml` that works. Keys of `interview.extra_body` win over all of this.

An answer that stands in `reasoning_content` beside an empty content is read there.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from memoirist.generators.settings import InterviewSettings

Structured = Literal["json_schema", "json_object", "text"]
Message = Mapping[str, str]
# The probe tries them in this order.
_FORMS: tuple[Structured, ...] = ("json_schema", "json_object", "text")
# The state of thinking beside the names of the switches: left alone, and not to be turned off.
UNSET, ALWAYS = "unset", "always"
_NAMED_SWITCH = "enable_thinking"

# Refusals, as servers word them.
_NO_SYSTEM = re.compile(
    r"system[ _-]?(?:role|message|prompt|instruction)|\brole\b.{0,60}\bsystem\b"
    r"|\bsystem\b.{0,60}\brole\b|developer instruction|roles must alternate"
    r"|must (?:start|begin) with.{0,20}\buser\b|first message.{0,40}\buser\b"
    r"|\bonly .{0,20}\buser\b.{0,30}\brole|\broles?\b.{0,60}\buser\b.{0,20}\b(?:assistant|model)\b"
    r"|\bvalue\W{1,3}system\b|\b(?:unexpected|unsupported|unknown) (?:message )?role\b"
)
_ONLY_STREAMS = re.compile(
    r"\bonly supports? stream|enable the stream"
    r"|\bstream(?:ing)?\W{1,3}(?:mode )?(?:is required|only)"
    r"|(?:must|please|need to|should) (?:be )?(?:set |use |enable )?\W?stream"
    r"|\bstream\W{0,3} (?:must|should|needs to) be|\bnon-?stream\w* .{0,40}\bnot\b"
    r"|\bnot\b .{0,40}non-?stream|\bonly stream(?:ing)?\b|\brequires? stream"
    r"|\bstream\W{1,4}false\b.{0,20}\bnot\b|\bstream(?:ing)? parameter is (?:required|missing)"
)
_FORMAT = re.compile(
    r"response_?format|json_object|json mode|structured|guided|grammar|schema|requested parameters"
)
_OTHER_LIMIT = re.compile(
    r"max_completion_tokens|\bun(?:supported|known|recognized)\b.{0,40}max_tokens"
    r"|max_tokens\W{1,3}is not"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A server, one of its models, and the form of request that it wants."""

    base_url: str
    model: str
    structured: Structured
    token_limit_name: str = "max_tokens"  # noqa: S105 - the name of a field
    takes_temperature: bool = True
    takes_system: bool = True
    streams: Literal["no", "counted", "uncounted"] = "no"
    thinking: str = UNSET

    def describe(self) -> str:
        """Return in words what the endpoint wants, "" where it takes the usual form."""
        wants = (
            ("no JSON schema", self.structured == "json_object"),
            ("no response format", self.structured == "text"),
            (self.token_limit_name, self.token_limit_name != "max_tokens"),  # noqa: S105
            ("no temperature", not self.takes_temperature),
            ("no system role", not self.takes_system),
            ("streams only", self.streams != "no"),
            (f"thinking turned off by {self.thinking}", self.thinking in _switches()),
            ("thinking, which cannot be turned off", self.thinking == ALWAYS),
        )
        return ", ".join(words for words, is_wanted in wants if is_wanted)

    def request(
        self,
        messages: Sequence[Message],
        schema: Mapping[str, Any],
        settings: InterviewSettings,
        max_tokens: int,
    ) -> dict[str, Any]:
        """Return the body of a request in the form that the endpoint wants."""
        body: dict[str, Any] = {"model": self.model, self.token_limit_name: max_tokens}
        if self.takes_temperature and settings.temperature is not None:
            body["temperature"] = settings.temperature
        if self.structured == "json_schema":
            json_schema = {"name": "interview", "strict": True, "schema": dict(schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": json_schema}
        elif self.structured == "json_object":
            body["response_format"] = {"type": "json_object"}
        if self.streams != "no":
            body["stream"] = True
        if self.streams == "counted":
            body["stream_options"] = {"include_usage": True}
        body |= _switches().get(self.thinking, {})
        whole = messages if self.takes_system else _without_system(messages)
        return body | settings.extra_body | {"messages": [dict(message) for message in whole]}


def _without_system(messages: Sequence[Message]) -> list[Message]:
    """Put the system messages into the first user message."""
    system = [message["content"] for message in messages if message["role"] == "system"]
    first, *others = (message for message in messages if message["role"] != "system")
    return [{**first, "content": "\n\n".join([*system, first["content"]])}, *others]


@cache
def _switches() -> Mapping[str, dict[str, Any]]:
    path = Path(__file__).with_name("thinking_switches.toml")
    return {name: row["body"] for name, row in tomllib.loads(path.read_text("utf-8")).items()}


def next_switch(endpoint: Endpoint) -> Endpoint:
    """Return the endpoint with the next switch to turn thinking off, ALWAYS after the last."""
    names = [UNSET, *_switches(), ALWAYS]
    following = min(names.index(endpoint.thinking) + 1, len(names) - 1)
    return replace(endpoint, thinking=names[following])


def may_switch(endpoint: Endpoint, settings: InterviewSettings) -> bool:
    """Tell whether there is a switch left to try, and the user has set none."""
    own = {key for body in _switches().values() for key in body} & settings.extra_body.keys()
    return endpoint.thinking != ALWAYS and not own


def is_about_form(message: str) -> bool:
    """Tell whether an error that comes with any status refuses the form of the request."""
    words = message.lower()
    return bool(
        _NO_SYSTEM.search(words) or _ONLY_STREAMS.search(words) or "requested parameters" in words
    )


def adapted(endpoint: Endpoint, refusal: str, *, probing: bool = False) -> Endpoint | None:
    """Return the endpoint with the form that avoids a refusal, None where nobody knows any.

    Each change goes in one direction, so a few of them end. A probe tries simpler forms after a
    refusal that names nothing too, as does a switch of thinking that is not proven.
    """
    words = refusal.lower()
    changes = (replace(endpoint, **change) for change in _changes(endpoint, words, probing=probing))
    return next((changed for changed in changes if changed != endpoint), None)


def _changes(endpoint: Endpoint, words: str, *, probing: bool) -> Iterator[dict[str, Any]]:
    """Yield what a refusal may ask to change, the likeliest first."""
    switch = _switches().get(endpoint.thinking, {})
    # A chat template that takes no system role is an error within some servers.
    is_error = "answered 5" in words
    is_format = bool(_FORMAT.search(words) or (probing and not is_error))
    simpler = _FORMS[min(_FORMS.index(endpoint.structured) + 1, len(_FORMS) - 1)]
    switched = {"thinking": next_switch(endpoint).thinking}
    candidates: tuple[tuple[object, dict[str, Any]], ...] = (
        (_NAMED_SWITCH in words and endpoint.thinking == UNSET, {"thinking": _NAMED_SWITCH}),
        (switch and any(key in words for key in (*switch, _NAMED_SWITCH)), switched),
        ("stream_options" in words and endpoint.streams != "no", {"streams": "uncounted"}),
        (endpoint.streams == "no" and _ONLY_STREAMS.search(words), {"streams": "counted"}),
        (_NO_SYSTEM.search(words), {"takes_system": False}),
        (_OTHER_LIMIT.search(words), {"token_limit_name": "max_completion_tokens"}),
        ("temperature" in words, {"takes_temperature": False}),
        (switch, switched),
        (probing and is_error, {"takes_system": False}),
        (is_format, {"structured": simpler}),
        # A refusal that names nothing: each other want in turn.
        (probing, {"takes_system": False}),
        (probing and not is_error, {"streams": "counted"}),
    )
    for is_wanted, change in candidates:
        if is_wanted:
            yield change
