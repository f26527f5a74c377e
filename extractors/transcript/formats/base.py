"""What every transcript format is read into: cues, the script they make, and its faults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Cue:
    """What one voice says in one piece, with seconds where the transcript has them.

    `fresh` opens a new turn although no name says so (a dash, ">>"); `paragraph` begins a
    paragraph of its speaker; a cue of the kind `boilerplate` is nobody's speech.
    """

    text: str
    speaker: str | None = None
    start: float | None = None
    end: float | None = None
    fresh: bool = False
    paragraph: bool = False
    chapter: str | None = None
    kind: Literal["turn", "heading", "boilerplate"] = "turn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One broken place of a transcript; `keep` tells that its words are kept all the same."""

    where: str
    rule: str
    reason: str
    next_step: str
    keep: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """One episode as it was read; `key` tells the episodes of one file apart."""

    cues: Sequence[Cue]
    faults: Sequence[Fault] = ()
    title: str | None = None
    published: date | None = None
    key: str | None = None
