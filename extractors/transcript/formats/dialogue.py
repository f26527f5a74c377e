"""Read transcripts that are plain text or Markdown: `Name: text`, bold names, time marks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path

from memoirist.extractors.text.encoding import unix_lines
from memoirist.extractors.text.markdown import front_matter, text_value
from memoirist.extractors.transcript.formats.base import (
    TIME,
    Cue,
    Fault,
    Script,
    read_head,
    read_text,
    seconds,
)
from memoirist.extractors.transcript.speaker_labels import LABEL, find_speakers
from memoirist.extractors.transcript.stage_directions import is_programme_part, remove_directions

_MARK = rf"(?:\[\s*{TIME}\s*\]|\(\s*{TIME}\s*\)|{TIME})"
_LONG_TIME = r"\d{1,3}:\d{2}:\d{2}(?:[.,]\d+)?"
_COLON = r"(?::(?=\s|$)|：)"
_BOLD_LABEL = re.compile(
    rf"^(?:\*\*|__)\s*(?P<pre>{_MARK})?\s*(?P<label>[^*:：\n]{{1,80}}?)[\s,]*(?P<within>{_MARK})?\s*"
    rf"(?P<colon>[:：])?\s*(?:\*\*|__)\s*(?P<after>{_MARK})?\s*(?P<late>[:：])?\s*(?P<rest>.*)$"
)
_PLAIN_LABEL = re.compile(
    rf"^(?P<pre>{_MARK})?\s*(?:[-–—>*]\s+)?(?P<label>{LABEL})[\s,]*(?P<within>{_MARK})?\s*{_COLON}"
    r"\s*(?P<rest>.*)$"
)
# "Ada Marrow   0:12" on a line of its own, as several transcription services write it.
_LABEL_LINE = re.compile(rf"^(?P<label>{LABEL})[\s,]+(?P<within>{_MARK})\s*(?P<rest>)$")
_TIMED_LINE = re.compile(rf"^(?P<pre>{_MARK})\s*[-–—]?\s*(?P<rest>.*)$")
# A time after the colon: in brackets, alone on its line, or with its hours.
_TIME_AFTER = re.compile(rf"^(?:(\[\s*{TIME}\s*\]|\(\s*{TIME}\s*\)|{_LONG_TIME})\s*|({TIME})\s*$)")
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
_SPEAKER_KEYS = ("speakers", "speaker", "participants", "guests", "guest", "hosts", "host")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Head:
    """The title, date and speakers that a file's front matter states."""

    title: str | None = None
    published: date | None = None
    speakers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """One line: its label and time where it may have them, and its words without them.

    `timed` is what stands behind a time at the line's start; `opens` lines start a paragraph.
    """

    text: str
    label: str | None = None
    bold: bool = False
    time: float | None = None
    rest: str = ""
    opens: bool = False
    timed: str | None = None

    @property
    def words(self) -> str:
        """The line's words without its time, without Markdown's links and emphasis."""
        return _plain_words(self.text if self.timed is None else self.timed)


def is_dialogue(path: Path) -> bool:
    """Tell whether a text is a conversation: recurring speakers, or a time before most lines."""
    head, body, _ = _split_head(read_head(path))
    lines = [line for line in _lines(body) if line.text]
    names = _speakers(lines, head.speakers)
    n_labelled = sum(line.label in names for line in lines)
    if n_labelled >= _MIN_LABELLED or (head.speakers and n_labelled >= 2):
        bold = any(line.bold and line.label in names for line in lines)
        n_places = sum(line.opens for line in lines)
        return bool(head.speakers) or bold or n_labelled >= _MIN_SHARE * n_places
    n_timed = sum(line.timed is not None for line in lines)
    return n_timed >= _MIN_TIMED and n_timed >= _MIN_TIMED_SHARE * len(lines)


def title_of(path: Path) -> str | None:
    """Return the title that a file's front matter states."""
    return _split_head(read_head(path, 1 << 16))[0].title


def read_dialogue(path: Path) -> list[Script]:
    """Return the one script of a .txt or .md file.

    What stands before the first speaker is nobody's speech.
    """
    head, body, fault = _split_head(read_text(path))
    lines = list(_lines(body))
    names = _speakers(lines, head.speakers)
    n_timed = sum(line.timed is not None for line in lines)
    if not names and n_timed >= _MIN_TIMED_SHARE * sum(bool(line.text) for line in lines):
        cues = [
            Cue(text=text, start=line.time if line.timed is not None else None)
            for line in lines
            if (text := line.words)
        ]
    else:
        cues = list(_turns(lines, names))
    faults = [fault] if fault else []
    return [Script(cues=cues, faults=faults, title=head.title, published=head.published)]


def _split_head(text: str) -> tuple[_Head, str, Fault | None]:
    """Return the front matter, the text behind it, and the fault of a head that is no YAML."""
    values, body, error = front_matter(text)
    if error:
        reason = f"it is not valid YAML ({error}): title, date and speakers are unknown"
        step = "correct the lines between the two ---"
        return _Head(), body, Fault("front matter", "bad_front_matter", reason, step, keep=True)
    names: list[str] = []
    for value in map(values.get, _SPEAKER_KEYS):
        for person in value if isinstance(value, list) else [value]:
            name = text_value(person.get("name") if isinstance(person, dict) else person)
            names += [name] if name else []
    return (
        _Head(
            title=text_value(values.get("title")),
            published=_date(values.get("date")),
            speakers=tuple(dict.fromkeys(names)),
        ),
        body,
        None,
    )


def _date(value: object) -> date | None:
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    try:
        return date.fromisoformat(str(value).strip()[:10])
    except ValueError:
        return None


def _speakers(lines: Sequence[_Line], declared: Sequence[str]) -> frozenset[str]:
    def among(labelled: Sequence[_Line], n_places: int) -> frozenset[str]:
        return find_speakers([line.label or "" for line in labelled], n_places, declared)

    labelled = [line for line in lines if line.label]
    bold = [line for line in labelled if line.bold]
    # Where names are bold, or stand on lines of their own, a word before a colon is not one.
    if len(bold) >= _MIN_LABELLED:
        return among(bold, len(bold))
    names = among(labelled, sum(line.opens for line in lines))
    name_lines = [line for line in labelled if not line.rest]
    own_line_names = among(name_lines, len(name_lines))
    n_own = sum(line.label in own_line_names for line in name_lines)
    if n_own >= _MIN_LABELLED and 2 * n_own >= sum(line.label in names for line in labelled):
        return own_line_names
    return names


def _lines(text: str) -> Iterator[_Line]:
    opens = True
    for raw in unix_lines(text).split("\n"):
        line = _ESCAPED.sub(r"\1", raw.strip())
        yield _line(line, opens=opens)
        opens = not line


def _line(text: str, *, opens: bool) -> _Line:
    match = _BOLD_LABEL.match(text)
    if match and (match["colon"] or match["late"] or match["within"] or not match["rest"]):
        times = [match["pre"], match["within"], match["after"]]
        return _labelled(text, match, times, bold=True, opens=True)
    if match := _PLAIN_LABEL.match(text):
        return _labelled(text, match, [match["pre"], match["within"]], bold=False, opens=opens)
    if match := _LABEL_LINE.match(text):
        return _labelled(text, match, [match["within"]], bold=False, opens=opens)
    if match := _TIMED_LINE.match(text):
        time = seconds(match["pre"])
        return _Line(text=text, rest=text, time=time, timed=match["rest"], opens=True)
    return _Line(text=text, rest=text, opens=opens and bool(text))


def _labelled(
    text: str, match: re.Match[str], times: Sequence[str | None], *, bold: bool, opens: bool
) -> _Line:
    rest = match["rest"]
    time = next((seconds(stated) for stated in times if stated), None)
    if time is None and (after := _TIME_AFTER.match(rest)):
        time = seconds(after[1] or after[2])
        rest = rest[after.end() :]
    timed = _TIMED_LINE.match(text)
    return _Line(
        text=text,
        label=match["label"].strip(" ,"),
        bold=bold,
        time=time,
        rest=rest,
        opens=opens or timed is not None,
        timed=timed["rest"] if timed else None,
    )


def _turns(lines: Sequence[_Line], names: frozenset[str]) -> Iterator[Cue]:
    speaker: str | None = None
    chapter: str | None = None
    time: float | None = None
    paragraph = True
    for line in lines:
        heading = _HEADING.match(line.text)
        if not line.text:
            paragraph = True
        elif heading and len(heading[2]) < 200:
            chapter = _plain_words(heading[2])
            yield Cue(text=chapter, chapter=chapter, kind="heading")
        elif line.label in names:
            speaker, time, paragraph = line.label, line.time, True
            if text := _plain_words(line.rest):
                yield Cue(text=text, speaker=speaker, start=time, chapter=chapter)
                time, paragraph = None, False
        elif line.label and is_programme_part(line.label) and (line.bold or line.opens):
            yield Cue(text=_plain_words(line.text), chapter=chapter, kind="boilerplate")
            speaker, time, paragraph = None, None, True
        else:
            if line.timed is not None and time is None:
                time = line.time
            if not (text := line.words):
                continue
            if names and speaker is None:
                yield Cue(text=text, chapter=chapter, kind="boilerplate")
            else:
                cue = Cue(text=text, speaker=speaker, start=time, chapter=chapter)
                yield replace(cue, paragraph=paragraph)
            time, paragraph = None, False


def _plain_words(text: str) -> str:
    """Return a line without Markdown's links and emphasis."""
    return " ".join(_EMPHASIS.sub(_without_emphasis, _LINK.sub(r"\1", text)).split())


def _without_emphasis(match: re.Match[str]) -> str:
    inner: str = match[2] or match[3]
    # "*laughs*" is a direction and keeps its stars; "*really*" is stress.
    return match.group() if remove_directions(f"({inner})")[1] else inner
