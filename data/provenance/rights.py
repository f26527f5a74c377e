"""Validate the rights of sources, read them from texts, and find obstacles to publishing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from memoirist.data.schema.errors import RecipeError
from memoirist.data.schema.records import Source

_FORMS = (
    'public-domain:COUNTRY (such as "public-domain:US"), licence:ID (such as "licence:CC-BY-4.0"),'
    ' own-work, "permission:WHOSE" or unknown'
)
_PUBLIC = re.compile(r"public-domain:[A-Z]{2}")
_LICENCE = re.compile(r"licence:[A-Za-z0-9][A-Za-z0-9.+\-]*")
_PERMISSION = re.compile(r"permission:\S.*")
# Of the hub's own names for licences, those that texts come under beside Creative Commons.
_HUB_LICENCES = {"apache-2.0", "mit", "gfdl", "odbl", "odc-by", "pddl", "bsd-3-clause"}
OTHERS_WORDS = "it contains other people's words, and their consent is not recorded"
_BY_WHOM = "'by whom, when'"
# Words by which sources say themselves what may be done with them, the most certain first.
_SAID: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"creativecommons\.org/publicdomain/zero/1\.0|\bCC0 1\.0\b", re.I), "CC0-1.0"),
    (
        re.compile(r"creativecommons\.org/licenses/(by(?:-nc)?(?:-nd|-sa)?)/(\d\.\d)", re.I),
        r"CC-\1-\2",
    ),
    (re.compile(r"\bCC[ -](BY(?:-NC)?(?:-ND|-SA)?)[ -](\d\.\d)\b"), r"CC-\1-\2"),
)
_GUTENBERG = re.compile(
    r"Project Gutenberg(?:-tm|™)?.{0,400}(?:for the use of anyone anywhere|\bLicense included\b)"
    r"|Project Gutenberg.{0,200}not protected by U\.?S\.? copyright",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """Why a source must not be pushed to a hub, and what would clear it."""

    source_id: str
    title: str
    reason: str
    next_step: str


def checked(rights: str) -> str:
    """Return the rights in their one spelling; raise RecipeError for a form that is unknown."""
    text = " ".join(rights.split())
    head, colon, tail = text.partition(":")
    head = {"license": "licence", "pd": "public-domain"}.get(head.lower(), head.lower())
    tail = tail.strip()
    if head == "public-domain":
        tail = tail.upper()
    text = f"{head}:{tail}" if colon else head
    if text in {"unknown", "own-work"} or any(
        form.fullmatch(text) for form in (_PUBLIC, _LICENCE, _PERMISSION)
    ):
        return text
    raise RecipeError(f"unknown form of rights: {rights!r}", f"give {_FORMS}")


def said_in(text: str) -> str | None:
    """Return the rights that a source's own words claim, or None where they are silent.

    Project Gutenberg's licence says that a work is in the public domain of the United States and
    nowhere else.
    """
    for pattern, licence in _SAID:
        if match := pattern.search(text):
            return f"licence:{match.expand(licence).upper()}"
    return "public-domain:US" if _GUTENBERG.search(text) else None


def hub_licence(sources: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return a card's `license`: the one that all sources share as hubs spell it, else `other`."""
    rights = {str(source.get("rights") or "unknown") for source in sources}
    licence = rights.pop().partition("licence:")[2].lower() if len(rights) == 1 else ""
    if licence.startswith("cc") or licence in _HUB_LICENCES:
        return {"license": licence}
    return {"license": "other", "license_name": "see-sources"}


def obstacles(sources: Sequence[Source]) -> list[Obstacle]:
    """Return what stands against pushing anything that was made of these sources to a hub."""
    # No text was taken from a source without a hash: a feed, whose episodes are sources of their
    # own, and a file that could not be read.
    return [
        Obstacle(
            source_id=source.id,
            title=source.title or source.location,
            reason=reason,
            next_step=next_step,
        )
        for source in sources
        if source.withdrawn_at is None and source.sha256
        for reason, next_step in _against(source)
    ]


def _against(source: Source) -> Iterator[tuple[str, str]]:
    rights = source.rights or "unknown"
    if source.kind == "chat" and not source.consent:
        # Whoever owns the export, the words in it are also those of the others.
        unknown = " --rights own-work" if rights == "unknown" else ""
        step = (
            f"ask them and record it: `memoirist rights {source.id}{unknown} --consent {_BY_WHOM}`"
        )
        yield OTHERS_WORDS, step
        return
    if rights == "unknown":
        yield (
            "its rights are unknown",
            f"state them: `memoirist rights {source.id} --rights RIGHTS`",
        )
    elif "-ND" in rights:
        yield (
            f"{rights} does not allow derived works",
            "ask the owner, then set --rights permission:WHOSE",
        )
    if source.living and not source.consent and rights != "own-work":
        step = f"record it: `memoirist rights {source.id} --consent {_BY_WHOM}`"
        yield "a living person speaks in it, and their consent is not recorded", step
