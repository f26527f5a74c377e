"""Extract the turns of a conversation from a WebVTT transcript."""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from data.errors import SourceUnreadable
from data.nouns import Document, Rows, Source, content_id
from extractors.blocks import Draft, blocks_of
from extractors.formats import Progress
from extractors.settings import ExtractSettings

_TIMES = re.compile(
    r"^\s*(?:(\d+):)?(\d{1,2}):(\d{2})[.,](\d{3})\s*-->\s*(?:(\d+):)?(\d{1,2}):(\d{2})[.,](\d{3})"
)
_NOT_CUES = re.compile(r"^(NOTE|STYLE|REGION)(\s|:|$)")
_VOICE = re.compile(r"<v(?:\.[^\s>]*)?\s+([^>]*)>")
_TAG = re.compile(r"</?(?:[a-zA-Z][^>]*)?>|<\d[\d:.]*>")
_PREFIX = re.compile(r"^(?:-\s*)?([^\W\d_][^:<>\n]{0,39}):\s+(?=\S)")
_DASH = re.compile(r"^[-–]\s+(?=\S)")
_SENTENCE_END = re.compile(r"[.!?…][\"'”’)\]]*$")
# A name that opens fewer cues than this is a word before a colon, not a speaker.
_MIN_PREFIXES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Cue:
    """What one voice says in one cue; `fresh` marks a dash that opens a new turn."""

    start: float
    end: float
    text: str
    speaker: str | None = None
    fresh: bool = False


def extract_vtt(
    source: Source, settings: ExtractSettings, on_progress: Progress | None = None
) -> Rows:
    """Return one episode and its turns; raise SourceUnreadable where the file has no cues."""
    text = Path(source.location).read_text("utf-8-sig", errors="replace")
    cues = parse_vtt(text)
    if not cues:
        raise SourceUnreadable(
            f"the transcript {source.location!r} has no cues",
            "give a WebVTT file with lines such as 00:01.000 --> 00:04.000",
        )
    title = source.title or Path(source.location).stem
    document = Document(id=content_id(source.id, title), source_id=source.id, title=title)
    return Rows(documents=(document,), blocks=blocks_of(document.id, turns(cues, settings)))


def parse_vtt(text: str) -> list[Cue]:
    """Return the cues of a WebVTT text in order, without tags, a cue of two voices as two."""
    cues: list[Cue] = []
    blocks = re.split(r"\n[ \t]*\n", text.replace("\r\n", "\n").replace("\r", "\n"))
    for block in blocks:
        lines = block.strip("\n").split("\n")
        at = next((n for n, line in enumerate(lines[:3]) if _TIMES.match(line)), None)
        if at is None or (at > 0 and _NOT_CUES.match(lines[0])):
            continue
        match = _TIMES.match(lines[at])
        if match:
            start, end = _seconds(match.groups()[:4]), _seconds(match.groups()[4:])
            payload = "\n".join(lines[at + 1 :])
            cues.extend(
                Cue(start=start, end=end, text=said, speaker=speaker, fresh=fresh)
                for speaker, said, fresh in _voices(payload)
            )
    return _prefixed(cues)


def _seconds(parts: Sequence[str | None]) -> float:
    hours, minutes, seconds, thousandths = (int(part or 0) for part in parts)
    return hours * 3600 + minutes * 60 + seconds + thousandths / 1000


def _voices(payload: str) -> Iterator[tuple[str | None, str, bool]]:
    """Give (speaker, text, opens a turn) for each voice span and each dashed line of a cue."""
    pieces = _VOICE.split(payload)
    named = [(None, pieces[0]), *zip(pieces[1::2], pieces[2::2], strict=True)]
    for speaker, said in named:
        lines: list[str] = []
        fresh = False
        for line in _plain(said).split("\n"):
            if _DASH.match(line) and speaker is None:
                if text := " ".join(lines):
                    yield None, text, fresh
                lines, fresh = [], True
                line = _DASH.sub("", line)
            lines.extend(line.split())
        if text := " ".join(lines):
            yield _plain(speaker).strip() or None if speaker else None, text, fresh


def _plain(text: str) -> str:
    return html.unescape(_TAG.sub("", text))


def _prefixed(cues: list[Cue]) -> list[Cue]:
    """Take `Name: ` prefixes as speakers where the names recur; a cue without one goes on."""
    if any(cue.speaker for cue in cues):
        return cues
    names = Counter(match.group(1) for cue in cues if (match := _PREFIX.match(cue.text)))
    known = {name for name, count in names.items() if count >= _MIN_PREFIXES}
    # One recurring name among many cues may be a phrase; two names, or most cues, are speakers.
    if len(known) < 2 and sum(names[name] for name in known) < 0.5 * len(cues):
        return cues
    found: list[Cue] = []
    speaker: str | None = None
    for cue in cues:
        match = _PREFIX.match(cue.text)
        if match and (match.group(1) in known or _is_name(match.group(1))):
            speaker = match.group(1).strip()
            cue = replace(cue, text=cue.text[match.end() :])
        found.append(replace(cue, speaker=speaker))
    return found


def _is_name(text: str) -> bool:
    words = text.split()
    return len(words) <= 3 and all(word[:1].isupper() for word in words)


def turns(cues: Sequence[Cue], settings: ExtractSettings) -> Iterator[Draft]:
    """Merge consecutive cues of one speaker; without a name a pause ends a turn."""
    run: list[Cue] = []
    for cue in cues:
        if run and _ends(run, cue, settings):
            yield _turn(run)
            run = []
        run.append(cue)
    if run:
        yield _turn(run)


def _ends(run: Sequence[Cue], cue: Cue, settings: ExtractSettings) -> bool:
    last = run[-1]
    if cue.speaker != last.speaker or cue.fresh:
        return True
    if cue.speaker is not None or not _SENTENCE_END.search(last.text):
        return False
    n_words = sum(len(each.text.split()) for each in run)
    return cue.start - last.end > settings.turn_pause_seconds or n_words > settings.turn_max_words


def _turn(run: Sequence[Cue]) -> Draft:
    return Draft(
        kind="turn",
        text=" ".join(cue.text for cue in run),
        speaker=run[0].speaker,
        start_seconds=run[0].start,
        end_seconds=max(cue.end for cue in run),
    )
