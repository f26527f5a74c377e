"""Read the cues of WebVTT and SubRip captions, also rolling and damaged ones."""

from __future__ import annotations

import html
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from memoirist.extractors.text.encoding import unix_lines
from memoirist.extractors.transcript.formats.base import (
    TIME,
    Cue,
    Fault,
    Script,
    bad_time,
    read_text,
    seconds,
)
from memoirist.extractors.transcript.formats.time_order import in_time_order
from memoirist.extractors.transcript.speaker_labels import LABEL, find_speakers

_TIMES = re.compile(rf"^\s*({TIME})\s*-->\s*({TIME})(?:\s|$)")
# A damaged line of times: it begins with a digit, a note does not.
_DAMAGED_TIMES = re.compile(r"^\s*\d[\w:.,]*\s*--?>")
_NOT_CUES = re.compile(r"^(?:NOTE|STYLE|REGION)(?:\s|:|$)")
_VOICE = re.compile(r"<v(?:\.[^\s<>]{0,100})?\s+([^<>]{0,200})>")
_TAG = re.compile(r"</?(?:[a-zA-Z][^<>]{0,300})?>|<\d[\d:.]{0,20}>|\{\\[^{}]{0,100}\}")
_PREFIX = re.compile(rf"^({LABEL})\s*(?::(?=\s|$)|：)\s*")
_TURN = re.compile(r"^(?:[-–—]\s+(?=\S)|>>+\s*)")
# A speaker may repeat a line; rolling captions repeat one in nearly every cue.
_MIN_ROLLING_SHARE = 0.3
_MIN_CUES = 3
_MAX_PAUSE_SECONDS = 1.5


@dataclass(frozen=True, slots=True)
class _Caption:
    """The lines that one cue puts on the screen, with their tags."""

    lines: Sequence[str]
    start: float | None
    end: float | None
    number: str

    @property
    def texts(self) -> list[str]:
        """The words of each line that has any."""
        return [text for line in self.lines if (text := _line_text(line))]


def read_captions(path: Path) -> list[Script]:
    """Return the one script of a .vtt or .srt file, a cue of two voices as two."""
    faults: list[Fault] = []
    found = list(_captions(read_text(path), faults))
    captions = in_time_order(found, faults, numbers=[caption.number for caption in found])
    cues = [
        Cue(text=text, speaker=speaker, start=caption.start, end=caption.end, new_turn=new_turn)
        for caption in _without_repeats(captions)
        for speaker, text, new_turn in _voices("\n".join(caption.lines))
    ]
    return [Script(cues=_with_speakers(cues), faults=faults)]


def _captions(text: str, faults: list[Fault]) -> Iterator[_Caption]:
    """Yield the captions; a damaged line of times loses the times, not the words."""
    lines = unix_lines(text).replace("\x00", "").split("\n")
    starts = [n for n, line in enumerate(lines) if _TIMES.match(line) or _DAMAGED_TIMES.match(line)]
    bounds = itertools.pairwise([*starts, len(lines)])
    for number, (first, after) in enumerate(bounds, start=1):
        where = f"cue {number} (line {first + 1})"
        start, end = _times(lines[first], where, faults)
        payload = _payload(lines[first + 1 : after], is_last=after == len(lines))
        if any(_plain(line).strip() for line in payload):
            yield _Caption(payload, start, end, lines[first - 1].strip() if first else "")
        elif not payload:
            step = "nothing, unless words are missing there"
            faults.append(Fault(where, "empty_cue", "it has times but no words", step))


def _times(line: str, where: str, faults: list[Fault]) -> tuple[float | None, float | None]:
    match = _TIMES.match(line)
    start, end = (seconds(match[1]), seconds(match[2])) if match else (None, None)
    if start is None or end is None or end < start:
        reason = f"the times {line.strip()[:60]!r} are not valid"
        faults.append(bad_time(where, reason, "correct the line, as in 00:01.000 --> 00:04.000"))
    return start, end if end is None or start is None else max(start, end)


def _payload(lines: Sequence[str], *, is_last: bool) -> list[str]:
    """Return a cue's own lines: without the next cue's number, notes and style sheets."""
    own = list(lines)
    if not is_last and own:
        last = own[-1].strip()
        # A line behind a blank one is the next cue's name.
        if last.isdecimal() or (last and (len(own) == 1 or not own[-2].strip())):
            own.pop()
    kept: list[str] = []
    skipping = False
    for n, line in enumerate(own):
        if not line:
            skipping = False
        elif n > 0 and not own[n - 1].strip() and _NOT_CUES.match(line):
            skipping = True
        if line and not skipping:
            kept.append(line)
    return kept


def _voices(payload: str) -> Iterator[tuple[str | None, str, bool]]:
    """Yield (speaker, text, opens a turn) for each voice span and each dashed line of a cue."""
    spans = _VOICE.split(payload)
    for speaker, span in [(None, spans[0]), *zip(spans[1::2], spans[2::2], strict=True)]:
        words: list[str] = []
        new_turn = False
        for line in re.sub(r"\s(>>+\s)", r"\n\1", _plain(span)).split("\n"):
            if _TURN.match(line.lstrip()) and speaker is None:
                if words:
                    yield None, " ".join(words), new_turn
                words, new_turn = [], True
                line = _TURN.sub("", line.lstrip())
            words.extend(line.split())
        if words:
            yield (_plain(speaker).strip() or None) if speaker else None, " ".join(words), new_turn


def _plain(text: str) -> str:
    return html.unescape(_TAG.sub("", text))


def _with_speakers(cues: Sequence[Cue]) -> list[Cue]:
    """Take `Name: ` prefixes as speakers; a cue without one continues, unless it opens a turn."""
    if any(cue.speaker for cue in cues):
        return list(cues)
    matches = [_PREFIX.match(cue.text) for cue in cues]
    names = find_speakers([match[1].strip() for match in matches if match], len(cues))
    if not names:
        return list(cues)
    result: list[Cue] = []
    speaker: str | None = None
    for cue, match in zip(cues, matches, strict=True):
        if match and match[1].strip() in names:
            speaker = match[1].strip()
            cue = replace(cue, text=cue.text[match.end() :], new_turn=False)
        elif cue.new_turn:
            speaker = None
        if cue.text:
            result.append(replace(cue, speaker=speaker))
    return result


def _without_repeats(captions: Sequence[_Caption]) -> Iterable[_Caption]:
    """Return the captions with each line once, where they roll as YouTube's; others unchanged.

    A rolling caption shows each line twice, or lets it grow word by word.
    """
    if any("<v" in line for caption in captions for line in caption.lines):
        return captions  # captions with voices do not roll: a repeated word is said again
    pairs = list(itertools.pairwise(captions))
    n_rolling = sum(_rolls(before.texts, c.texts) for before, c in pairs if _follows(before, c))
    if len(captions) < _MIN_CUES or n_rolling < _MIN_ROLLING_SHARE * len(pairs):
        return captions
    return _new_lines(captions)


def _rolls(before: Sequence[str], texts: Sequence[str]) -> bool:
    if not before or not texts:
        return False
    return _n_repeated(before, texts) > 0 or texts[0].startswith(f"{before[-1]} ")


def _new_lines(captions: Sequence[_Caption]) -> Iterator[_Caption]:
    before: _Caption | None = None
    for caption in captions:
        lines = [line for line in caption.lines if _line_text(line)]
        if before is not None and _follows(before, caption):
            n_old = _n_repeated(before.texts, caption.texts)
            lines = lines[n_old:]
            if n_old == 0 and before.texts:
                lines = _new_words(before.texts[-1], lines)
        if lines:
            yield replace(caption, lines=lines)
        before = caption


def _new_words(before: str, lines: list[str]) -> list[str]:
    """Return the lines without the words of the first one that the cue before has shown."""
    old, new = before.split(), _line_text(lines[0]).split() if lines else []
    if old and new[: len(old)] == old:
        rest = " ".join(new[len(old) :])
        return [rest, *lines[1:]] if rest else lines[1:]
    return lines


def _n_repeated(before: Sequence[str], texts: Sequence[str]) -> int:
    """Return how many of a cue's first lines are the last ones of the cue before."""
    longest = min(len(before), len(texts))
    return next((n for n in range(longest, 0, -1) if before[-n:] == texts[:n]), 0)


def _follows(before: _Caption, caption: _Caption) -> bool:
    """Tell whether two captions follow without a pause, as the steps of one rolling line do."""
    if before.end is None or caption.start is None:
        return True
    return caption.start - before.end < _MAX_PAUSE_SECONDS


def _line_text(line: str) -> str:
    return " ".join(re.sub(r"<[^<>]{0,300}>", "", line).split())
