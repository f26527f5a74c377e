"""The YAML head of a Markdown file: title, date and speakers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import yaml

from memoirist.extractors.transcript.formats.base import Fault

_HEAD = re.compile(r"\A\s*---[ \t]*\r?\n(.*?)\r?\n(?:---|\.\.\.)[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_MAX_CHARS = 1 << 16
_SPEAKERS = ("speakers", "speaker", "participants", "guests", "guest", "hosts", "host")


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """What a file's head says of it."""

    title: str | None = None
    published: date | None = None
    speakers: tuple[str, ...] = ()


def front_matter(text: str) -> tuple[Front, str, Fault | None]:
    """Return the head, the text behind it, and the fault of a head that is no YAML."""
    match = _HEAD.match(text)
    if match is None:
        return Front(), text, None
    body = text[match.end() :]
    try:
        values = yaml.safe_load(match.group(1)[:_MAX_CHARS])
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        first = str(error).splitlines()[0][:100]
        return (
            Front(),
            body,
            Fault(
                where="front matter",
                rule="bad_front_matter",
                reason=f"it is no YAML ({first}): its title, date and speakers are unknown",
                next_step="mend the lines between the two ---",
                keep=True,
            ),
        )
    return (_front(values) if isinstance(values, dict) else Front()), body, None


def _front(values: Mapping[Any, Any]) -> Front:
    title = values.get("title")
    names: list[str] = []
    for key in _SPEAKERS:
        told = values.get(key)
        several = told if isinstance(told, list) else [told]
        names += [name for each in several if (name := _name(each))]
    return Front(
        title=" ".join(title.split()) or None if isinstance(title, str) else None,
        published=_date(values.get("date")),
        speakers=tuple(dict.fromkeys(names)),
    )


def _name(value: object) -> str | None:
    if isinstance(value, dict):
        value = value.get("name")
    return " ".join(value.split()) if isinstance(value, str) and value.strip() else None


def _date(value: object) -> date | None:
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    try:
        return date.fromisoformat(str(value).strip()[:10])
    except ValueError:
        return None
