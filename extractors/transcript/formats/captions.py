"""Read the cues of WebVTT and SubRip captions, rolling ones and damaged ones too."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from memoirist.extractors.transcript.formats.base import Cue, Fault, Script
from memoirist.extractors.transcript.reading import read_text
from memoirist.extractors.transcript.rolling import Shown, unrolled
from memoirist.extractors.transcript.speaker_labels import LABEL, speakers_among
from memoirist.extractors.transcript.times import TIME, seconds

_TIMES = re.compile(rf"^\s*({TIME})\s*-->\s*({TIME})(?:\s|$)")
# Something that was meant as a line of times: it begins with a digit, a note does not.
_MEANT_TIMES = re.compile(r"^\s*\d[\w:.,]*\s*--?>")
_NOT_CUES = re.compile(r"^(?:NOTE|STYLE|REGION)(?:\s|:|$)")
_VOICE = re.compile(r"<v(?:\.[^\s<>]{0,100})?\s+([^<>]{0,200})>")
_TAG = re.compile(r"</?(?:[a-zA-Z][^<>]{0,300})?>|<\d[\d:.]{0,20}>|\{\\[^{}]{0,100}\}")
_PREFIX = re.compile(rf"^({LABEL})\s*(?::(?=\s|$)|：)\s*")
_TURN = re.compile(r"^(?:[-–—]\s+(?=\S)|>>+\s*)")


def read_captions(path: Path) -> list[Script]:
    """Return the one script of a .vtt or .srt file."""
    return [parse_captions(read_text(path))]


def parse_captions(text: str) -> Script:
    """Return the cues of a WebVTT or SubRip text in order, a cue of two voices as two."""
    faults: list[Fault] = []
    shown = list(_shown(text, faults))
    cues = [
        Cue(text=said, speaker=speaker, start=each.start, end=each.end, fresh=fresh)
        for each in unrolled(shown)
        for speaker, said, fresh in _voices("\n".join(each.lines))
    ]
    return Script(cues=prefixed(cues), faults=faults)


def _shown(text: str, faults: list[Fault]) -> Iterator[Shown]:
    """Give the cues, whatever stands between them; a line of broken times costs only the times."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "").split("\n")
    at = [n for n, line in enumerate(lines) if _TIMES.match(line) or _MEANT_TIMES.match(line)]
    for number, (first, after) in enumerate(zip(at, [*at[1:], len(lines)], strict=False), start=1):
        where = f"cue {number} (line {first + 1})"
        start, end = _times(lines[first], where, faults)
        payload = _payload(lines[first + 1 : after], last=after == len(lines))
        if any(_plain(line).strip() for line in payload):
            yield Shown(number=number, lines=tuple(payload), start=start, end=end)
        elif not payload:
            faults.append(
                Fault(
                    where=where,
                    rule="empty_cue",
                    reason="it has times and no words",
                    next_step="nothing, unless words are missing there",
                )
            )


def _times(line: str, where: str, faults: list[Fault]) -> tuple[float | None, float | None]:
    match = _TIMES.match(line)
    start, end = (seconds(match.group(1)), seconds(match.group(2))) if match else (None, None)
    if start is None or end is None or end < start:
        faults.append(
            Fault(
                where=where,
                rule="bad_time",
                reason=f"the times {line.strip()[:60]!r} cannot be; its words are kept",
                next_step="mend the line, such as 00:01.000 --> 00:04.000",
                keep=True,
            )
        )
    return start, end if end is None or start is None else max(start, end)


def _payload(lines: Sequence[str], *, last: bool) -> list[str]:
    """Return a cue's own lines: without the next cue's number, notes and style sheets."""
    own = list(lines)
    if (
        not last
        and own
        and (
            own[-1].strip().isdecimal()
            or (own[-1].strip() and (len(own) == 1 or not own[-2].strip()))
        )
    ):
        own.pop()
    kept: list[str] = []
    skipping = False
    for n, line in enumerate(own):
        if not line:
            skipping = False
        elif _NOT_CUES.match(line) and (n == 0 or not own[n - 1].strip()) and n > 0:
            skipping = True
        if line and not skipping:
            kept.append(line)
    return kept


def _voices(payload: str) -> Iterator[tuple[str | None, str, bool]]:
    """Give (speaker, text, opens a turn) for each voice span and each dashed line of a cue."""
    pieces = _VOICE.split(payload)
    named = [(None, pieces[0]), *zip(pieces[1::2], pieces[2::2], strict=True)]
    for speaker, said in named:
        lines: list[str] = []
        fresh = False
        for line in re.sub(r"\s(>>+\s)", r"\n\1", _plain(said)).split("\n"):
            if _TURN.match(line.lstrip()) and speaker is None:
                if text := " ".join(lines):
                    yield None, text, fresh
                lines, fresh = [], True
                line = _TURN.sub("", line.lstrip())
            lines.extend(line.split())
        if text := " ".join(lines):
            yield (_plain(speaker).strip() or None) if speaker else None, text, fresh


def _plain(text: str) -> str:
    return html.unescape(_TAG.sub("", text))


def prefixed(cues: Sequence[Cue]) -> list[Cue]:
    """Take `Name: ` prefixes as speakers; a cue without one goes on, unless it opens a turn."""
    if any(cue.speaker for cue in cues):
        return list(cues)
    matches = [_PREFIX.match(cue.text) for cue in cues]
    names = speakers_among([match.group(1).strip() for match in matches if match], len(cues))
    if not names:
        return list(cues)
    found: list[Cue] = []
    speaker: str | None = None
    for cue, match in zip(cues, matches, strict=True):
        if match and match.group(1).strip() in names:
            speaker = match.group(1).strip()
            cue = replace(cue, text=cue.text[match.end() :], fresh=False)
        elif cue.fresh:
            speaker = None
        if cue.text:
            found.append(replace(cue, speaker=speaker))
    return found
