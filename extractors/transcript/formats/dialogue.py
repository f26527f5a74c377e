"""Read transcripts that are plain text or Markdown: `Name: text`, bold names, time marks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from memoirist.extractors.transcript.formats.base import Cue, Fault, Script
from memoirist.extractors.transcript.front import Front, front_matter
from memoirist.extractors.transcript.reading import read_head, read_text
from memoirist.extractors.transcript.speaker_labels import LABEL, speakers_among
from memoirist.extractors.transcript.stage_directions import is_part
from memoirist.extractors.transcript.times import TIME, seconds

_MARK = rf"(?:\[\s*{TIME}\s*\]|\(\s*{TIME}\s*\)|{TIME})"
_LONG_TIME = r"\d{1,3}:\d{2}:\d{2}(?:[.,]\d+)?"
_COLON = r"(?::(?=\s|$)|：)"
_BOLD = re.compile(
    rf"^(?:\*\*|__)\s*(?P<pre>{_MARK})?\s*(?P<label>[^*:：\n]{{1,80}}?)[\s,]*(?P<within>{_MARK})?\s*"
    rf"(?P<colon>[:：])?\s*(?:\*\*|__)\s*(?P<after>{_MARK})?\s*(?P<late>[:：])?\s*(?P<rest>.*)$"
)
_PLAIN = re.compile(
    rf"^(?P<pre>{_MARK})?\s*(?:[-–—>*]\s+)?(?P<label>{LABEL})[\s,]*(?P<within>{_MARK})?\s*{_COLON}"
    r"\s*(?P<rest>.*)$"
)
# "Ada Marrow   0:12" on a line of its own, as several transcription services write it.
_HEADER = re.compile(rf"^(?P<label>{LABEL})[\s,]+(?P<within>{_MARK})\s*(?P<rest>)$")
_TIMED = re.compile(rf"^(?P<pre>{_MARK})\s*[-–—]?\s*(?P<rest>.*)$")
# A time after the colon: in brackets, alone on its line, or with its hours.
_LEADING = re.compile(rf"^(?:(\[\s*{TIME}\s*\]|\(\s*{TIME}\s*\)|{_LONG_TIME})\s*|({TIME})\s*$)")
_HEADING = re.compile(r"^(#{1,6})\s+(.+?)\s*#*$")
_ESCAPED = re.compile(r"\\([\\`*_{}\[\]()#+\-.!>~|])")
_LINK = re.compile(
    r"!?\[([^\[\]\n]{0,500})\]\([^()\s]{0,500}(?:\([^()\s]{0,99}\)[^()\s]{0,99})?(?:\s\"[^\"\n]{0,200}\")?\)"
)
_EMPHASIS = re.compile(
    r"(?<![\w*])(\*{1,3})(?=\S)([^*\n]{1,500}?)(?<=\S)\1(?![\w*])|`([^`\n]{1,500})`"
)
_MIN_LABELLED = 4
_MIN_SHARE = 0.2
_MIN_TIMED_SHARE = 0.6
_MIN_TIMED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """One line: its label and time where it may have them, and its words without them."""

    text: str
    label: str | None = None
    bold: bool = False
    time: float | None = None
    rest: str = ""
    opens: bool = False
    timed: str | None = None


def is_dialogue(path: Path) -> bool:
    """Tell whether a text is a conversation: recurring speakers, or a time before most lines."""
    front, body, _ = front_matter(read_head(path))
    lines = [line for line in _lines(body) if line.text]
    names = _speakers(lines, front)
    labelled = sum(line.label in names for line in lines)
    if labelled >= _MIN_LABELLED or (front.speakers and labelled >= 2):
        units = sum(line.opens for line in lines)
        bold = any(line.bold and line.label in names for line in lines)
        return bool(front.speakers) or bold or labelled >= _MIN_SHARE * units
    timed = sum(line.timed is not None for line in lines)
    return timed >= _MIN_TIMED and timed >= _MIN_TIMED_SHARE * len(lines)


def read_dialogue(path: Path) -> list[Script]:
    """Return the one script of a .txt or .md file."""
    return [parse_dialogue(read_text(path))]


def names_of(path: Path) -> tuple[str | None, date | None]:
    """Return the (title, date) that a file's front matter names."""
    front, _, _ = front_matter(read_head(path, 1 << 16))
    return front.title, front.published


def parse_dialogue(text: str) -> Script:
    """Return the cues of a text; what stands before the first speaker is nobody's speech."""
    front, body, fault = front_matter(text)
    lines = list(_lines(body))
    names = _speakers(lines, front)
    timed = sum(line.timed is not None for line in lines)
    captions = not names and timed >= _MIN_TIMED_SHARE * sum(bool(line.text) for line in lines)
    cues = list(_captions(lines) if captions else _turns(lines, names))
    faults: list[Fault] = [fault] if fault else []
    return Script(cues=cues, faults=faults, title=front.title, published=front.published)


def _speakers(lines: Sequence[_Line], front: Front) -> frozenset[str]:
    labelled = [line for line in lines if line.label]
    bold = [line for line in labelled if line.bold]
    # Where names are set bold, or stand on lines of their own, a word before a colon is not one.
    if len(bold) >= _MIN_LABELLED:
        return _among(bold, len(bold), front)
    names = _among(labelled, sum(line.opens for line in lines), front)
    alone = [line for line in labelled if not line.rest]
    heads = _among(alone, len(alone), front)
    n_heads = sum(line.label in heads for line in alone)
    if n_heads >= _MIN_LABELLED and 2 * n_heads >= sum(line.label in names for line in labelled):
        return heads
    return names


def _among(labelled: Sequence[_Line], n_units: int, front: Front) -> frozenset[str]:
    return speakers_among([line.label or "" for line in labelled], n_units, front.speakers)


def _lines(text: str) -> Iterator[_Line]:
    blank = True
    for raw in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        line = _ESCAPED.sub(r"\1", raw.strip())
        yield _line(line, opens=blank)
        blank = not line


def _line(line: str, *, opens: bool) -> _Line:
    match = _BOLD.match(line)
    if match and (match["colon"] or match["late"] or match["within"] or not match["rest"]):
        marks = [match["pre"], match["within"], match["after"]]
        return _labelled(line, match, marks, bold=True)
    match = _PLAIN.match(line) or _HEADER.match(line)
    if match:
        pre = match.groupdict().get("pre")
        return _labelled(line, match, [pre, match["within"]], bold=False, opens=opens)
    return _timed(line, opens=opens)


def _labelled(
    line: str, match: re.Match[str], marks: Sequence[str | None], *, bold: bool, opens: bool = True
) -> _Line:
    rest = match["rest"]
    time = next((seconds(mark) for mark in marks if mark), None)
    if time is None and (leading := _LEADING.match(rest)):
        time = seconds(leading.group(1) or leading.group(2))
        rest = rest[leading.end() :]
    plain = _timed(line, opens=opens)
    return _Line(
        text=line,
        label=match["label"].strip(" ,"),
        bold=bold,
        time=time,
        rest=rest,
        opens=opens or plain.timed is not None,
        timed=plain.timed,
    )


def _timed(line: str, *, opens: bool) -> _Line:
    match = _TIMED.match(line)
    if match is None:
        return _Line(text=line, rest=line, opens=opens and bool(line))
    return _Line(text=line, rest=line, time=seconds(match["pre"]), timed=match["rest"], opens=True)


def _captions(lines: Sequence[_Line]) -> Iterator[Cue]:
    """Give the cues of a text with a time before each line and no speakers."""
    for line in lines:
        if said := _words(line.text if line.timed is None else line.timed):
            yield Cue(text=said, start=line.time if line.timed is not None else None)


def _turns(lines: Sequence[_Line], names: frozenset[str]) -> Iterator[Cue]:
    speaker: str | None = None
    chapter: str | None = None
    time: float | None = None
    blank = True
    for line in lines:
        heading = _HEADING.match(line.text)
        if not line.text:
            blank = True
        elif heading and len(heading.group(2)) < 200:
            chapter = _words(heading.group(2))
            yield Cue(text=chapter, chapter=chapter, kind="heading")
        elif line.label in names:
            speaker, time, blank = line.label, line.time, True
            if said := _words(line.rest):
                yield _cue(said, speaker, time, chapter, paragraph=False)
                time, blank = None, False
        elif line.label and is_part(line.label) and (line.bold or line.opens):
            yield Cue(text=_words(line.text), chapter=chapter, kind="boilerplate")
            speaker, time, blank = None, None, True
        else:
            if line.timed is not None:
                time = line.time if time is None else time
            if said := _words(line.text if line.timed is None else line.timed):
                if names and speaker is None:
                    yield Cue(text=said, chapter=chapter, kind="boilerplate")
                else:
                    yield _cue(said, speaker, time, chapter, paragraph=blank)
                time, blank = None, False


def _cue(
    said: str, speaker: str | None, time: float | None, chapter: str | None, *, paragraph: bool
) -> Cue:
    return Cue(text=said, speaker=speaker, start=time, chapter=chapter, paragraph=paragraph)


def _words(text: str) -> str:
    """Return a line without Markdown's links and emphasis; stage directions are cut elsewhere."""
    text = _LINK.sub(r"\1", text)
    return " ".join(_EMPHASIS.sub(_bare, text).split())


def _bare(match: re.Match[str]) -> str:
    inner: str = match.group(2) or match.group(3)
    # "*laughs*" is a direction and keeps its stars; "*really*" is stress.
    from memoirist.extractors.transcript.stage_directions import without_directions

    return match.group() if without_directions(f"({inner})")[1] else inner
