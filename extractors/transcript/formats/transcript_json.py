"""Read the JSON that transcripts come in: Whisper, Podcasting 2.0, Podlove, conversations."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from memoirist.extractors.transcript.formats.base import Cue, Fault, Script
from memoirist.extractors.transcript.json_fields import (
    END,
    SPEAKER,
    START,
    TEXT,
    bad_row,
    bad_time,
    speaker_of,
    times_of,
    value_of,
)
from memoirist.extractors.transcript.reading import MAX_BYTES, read_head, read_text
from memoirist.extractors.transcript.stage_directions import is_part
from memoirist.extractors.transcript.times import seconds

# Roles of a chat, not names: such a file is a dataset, read elsewhere.
_ROLES = frozenset("system user assistant human gpt bot model chatgpt ai tool function".split())


def is_whisper(path: Path) -> bool:
    """Tell whether a file is what Whisper, WhisperX or whisper.cpp write."""
    return _shape(path) == "whisper"


def is_podcast_json(path: Path) -> bool:
    """Tell whether a file is a Podcasting 2.0 transcript."""
    return _shape(path) == "podcast-json"


def is_podlove(path: Path) -> bool:
    """Tell whether a file is a Podlove transcript, or another list of timed entries."""
    return _shape(path) == "podlove"


def is_conversation(path: Path) -> bool:
    """Tell whether a file holds rows of `conversation: [{from, text}]` between named people."""
    return _shape(path) == "conversation"


def _shape(path: Path) -> str | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return _shape_of(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=32)
def _shape_of(path: Path, _mtime_ns: int, size: int) -> str | None:
    """Return the shape of a file; a dataset of gigabytes is told by its first row."""
    head = read_head(path, 1 << 22).lstrip()
    lines = path.suffix.lower() in {".jsonl", ".ndjson"}
    first = _first(head[1:].lstrip() if head.startswith("[") and not lines else head)
    if first is not None and _is_conversation(first):
        return "conversation"
    if lines:
        return None
    if head.startswith("["):
        return "podlove" if isinstance(first, dict) and _is_entry(first) else None
    if not head.startswith("{") or size > MAX_BYTES:
        return None
    try:
        return _shape_of_dict(json.loads(read_text(path)))
    except (ValueError, RecursionError):
        return None


def _first(text: str) -> object:
    try:
        return json.JSONDecoder().raw_decode(text)[0]
    except (ValueError, RecursionError):
        return None


def _shape_of_dict(value: object) -> str | None:
    if not isinstance(value, dict):
        return None
    for key in ("segments", "transcription", "transcripts", "transcript"):
        entries = value.get(key)
        if isinstance(entries, list):
            first = next((each for each in entries if isinstance(each, dict)), None)
            if first is None:
                # An empty transcript is one all the same; an empty list under "transcript" may not.
                return (
                    "whisper" if key == "segments" and set(value) & {"language", "text"} else None
                )
            if "body" in first and "startTime" in first:
                return "podcast-json"
            if _is_entry(first):
                return "podlove" if key == "transcripts" else "whisper"
    return None


def _is_entry(entry: dict[str, Any]) -> bool:
    """Tell whether a JSON object is a piece of a talk: words and a time, or words and a speaker."""
    text = next((entry[key] for key in TEXT if key in entry), None)
    if isinstance(entry.get("timestamps"), dict):
        return isinstance(text, str)
    begins = seconds(value_of(entry, START)) is not None or entry.get("start", 0) is None
    bounded = any(key in entry for key in (*END, "duration", *SPEAKER))
    return (
        isinstance(text, str)
        and begins
        and bounded
        and not _ROLES & {str(entry.get("role", "")).lower()}
    )


def _is_conversation(row: object) -> bool:
    turns = row.get("conversation") if isinstance(row, dict) else None
    if not isinstance(turns, list) or not turns:
        return False
    names = [turn.get("from") for turn in turns if isinstance(turn, dict) and "text" in turn]
    known = [name.strip().casefold() for name in names if isinstance(name, str)]
    return len(known) * 2 > len(turns) and not _ROLES & set(known)


def read_entries(path: Path) -> list[Script]:
    """Return the one script of a Whisper, Podcasting 2.0 or Podlove file."""
    try:
        value = json.loads(read_text(path))
    except (ValueError, RecursionError):
        return [Script(cues=())]
    entries: object = value
    if isinstance(value, dict):
        keys = ("segments", "transcription", "transcripts", "transcript")
        entries = next((value[key] for key in keys if isinstance(value.get(key), list)), [])
    faults: list[Fault] = []
    cues = list(_cues(entries if isinstance(entries, list) else [], faults))
    return [Script(cues=_filled(cues), faults=faults)]


def _cues(entries: Sequence[object], faults: list[Fault]) -> Iterator[Cue]:
    for number, entry in enumerate(entries, start=1):
        where = f"entry {number}"
        text = value_of(entry, TEXT) if isinstance(entry, dict) else None
        if not isinstance(entry, dict) or not isinstance(text, str) or not text.strip():
            faults.append(bad_row(where, "it has no text"))
            continue
        start, end = times_of(entry)
        if start is None or (end is not None and end < start):
            faults.append(bad_time(where, entry))
            end = start
        speaker = speaker_of(entry)
        if speaker is None and is_part(text):
            yield Cue(text=text.strip(), start=start, end=end, kind="boilerplate")
            continue
        cue = Cue(text=" ".join(text.split()), speaker=speaker, start=start, end=end)
        yield from _by_word(entry, cue)


def _by_word(entry: dict[str, Any], cue: Cue) -> Iterator[Cue]:
    """Give a segment's parts by speaker where its words, and not itself, name several."""
    words = entry.get("words")
    spoken = [w for w in words if isinstance(w, dict)] if isinstance(words, list) else []
    names = [speaker_of(word) for word in spoken]
    counts = Counter(name for name in names if name)
    if cue.speaker is not None or not counts:
        yield cue
        return
    if len(counts) == 1:
        yield Cue(text=cue.text, speaker=next(iter(counts)), start=cue.start, end=cue.end)
        return
    run: list[dict[str, Any]] = []
    current: str | None = None
    for word, name in [*zip(spoken, names, strict=True), ({}, "")]:
        if run and name is not None and name != current and current is not None:
            yield _joined(run, current, cue)
            run = []
        run.append(word)
        current = name if name is not None else current


def _joined(words: Sequence[dict[str, Any]], speaker: str, cue: Cue) -> Cue:
    said = " ".join(str(word.get("word", word.get("text", ""))).strip() for word in words)
    starts = [time for word in words if (time := seconds(word.get("start"))) is not None]
    ends = [time for word in words if (time := seconds(word.get("end"))) is not None]
    return Cue(
        text=" ".join(said.split()),
        speaker=speaker,
        start=min(starts, default=cue.start),
        end=max(ends, default=cue.end),
    )


def _filled(cues: Sequence[Cue]) -> list[Cue]:
    """Give nameless cues between two of one speaker to him: the diarisation missed a breath."""
    found = list(cues)
    last: int | None = None
    for n, cue in enumerate(cues):
        if cue.kind != "turn":
            last = None
        elif cue.speaker is not None:
            if last is not None and cues[last].speaker == cue.speaker and n - last == 2:
                middle = cues[last + 1]
                found[last + 1] = Cue(
                    text=middle.text, speaker=cue.speaker, start=middle.start, end=middle.end
                )
            last = n
    return found
