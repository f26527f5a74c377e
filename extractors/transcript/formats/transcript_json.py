"""Read the JSON of transcripts: Whisper, Podcasting 2.0, Podlove, rows of conversations."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from memoirist.extractors.transcript.formats.base import (
    MAX_BYTES,
    Cue,
    Fault,
    Script,
    bad_row,
    bad_time,
    read_head,
    read_text,
    seconds,
)
from memoirist.extractors.transcript.formats.time_order import OVERLAP_SECONDS, in_time_order
from memoirist.extractors.transcript.stage_directions import is_programme_part

# The names that different programs give to the fields of an entry.
_TEXT = ("text", "body", "content", "transcript")
_SPEAKER = ("voice", "speaker", "speaker_name", "speakerName", "speaker_label", "from")
_START = ("start", "startTime", "start_time", "begin")
_END = ("end", "endTime", "end_time")
_LISTS = ("segments", "transcription", "transcripts", "transcript")
# Roles of a chat, not names: such a file is a dataset.
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
    """Return the shape of a file; the first row is enough for a dataset of gigabytes."""
    head = read_head(path, 1 << 22).lstrip()
    is_lines = path.suffix.lower() in {".jsonl", ".ndjson"}
    is_list = head.startswith("[")
    first = _first_value(head[1:].lstrip() if is_list and not is_lines else head)
    if _is_conversation(first):
        return "conversation"
    if is_lines:
        return None
    if is_list:
        return "podlove" if isinstance(first, dict) and _is_entry(first) else None
    if not head.startswith("{") or size > MAX_BYTES:
        return None
    value = _parse(read_text(path))
    return _shape_of_object(value) if isinstance(value, dict) else None


def _parse(text: str) -> object:
    """Return the value of a JSON text, None where it is broken."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _first_value(text: str) -> object:
    try:
        return json.JSONDecoder().raw_decode(text)[0]
    except (ValueError, RecursionError):
        return None


def _shape_of_object(value: dict[str, Any]) -> str | None:
    for key in _LISTS:
        if not isinstance(entries := value.get(key), list):
            continue
        first = next((entry for entry in entries if isinstance(entry, dict)), None)
        if first is None:
            # An empty list "segments" is an empty transcript; another empty list may be anything.
            is_empty = key == "segments" and set(value) & {"language", "text"}
            return "whisper" if is_empty else None
        if "body" in first and "startTime" in first:
            return "podcast-json"
        if _is_entry(first):
            return "podlove" if key == "transcripts" else "whisper"
    return None


def _is_entry(entry: dict[str, Any]) -> bool:
    """Tell whether an object is a piece of a talk: words and a time, or words and a speaker."""
    text = next((entry[key] for key in _TEXT if key in entry), None)
    if not isinstance(text, str):
        return False
    if isinstance(entry.get("timestamps"), dict):
        return True
    has_start = seconds(_value(entry, _START)) is not None or entry.get("start", 0) is None
    has_more = any(key in entry for key in (*_END, "duration", *_SPEAKER))
    return has_start and has_more and str(entry.get("role", "")).lower() not in _ROLES


def _is_conversation(row: object) -> bool:
    turns = row.get("conversation") if isinstance(row, dict) else None
    if not isinstance(turns, list) or not turns:
        return False
    names = [turn.get("from") for turn in turns if isinstance(turn, dict) and "text" in turn]
    known = [name.strip().casefold() for name in names if isinstance(name, str)]
    return len(known) * 2 > len(turns) and not _ROLES & set(known)


def _value(entry: dict[str, Any], keys: Sequence[str]) -> object:
    """Return the first of an entry's values that is there and not empty."""
    return next((entry[key] for key in keys if entry.get(key) not in (None, "")), None)


def _times(entry: dict[str, Any]) -> tuple[float | None, float | None]:
    """Return an entry's (start, end) in seconds, each None where it is none."""
    stamps = entry.get("timestamps")
    if isinstance(stamps, dict):
        return seconds(stamps.get("from")), seconds(stamps.get("to"))
    return seconds(_value(entry, _START)), seconds(_value(entry, _END))


def _speaker(entry: dict[str, Any]) -> str | None:
    """Return the speaker of an entry: a name, or SPEAKER_NN for a number."""
    value = _value(entry, _SPEAKER)
    if isinstance(value, dict):
        value = value.get("name") or value.get("label")
    if isinstance(value, int) and not isinstance(value, bool):
        value = f"SPEAKER_{value:02}"
    return " ".join(value.split()) or None if isinstance(value, str) else None


def read_entries(path: Path) -> list[Script]:
    """Return the one script of a Whisper, Podcasting 2.0 or Podlove file."""
    entries = _parse(read_text(path))
    if isinstance(entries, dict):
        lists = (entries.get(key) for key in _LISTS)
        entries = next((value for value in lists if isinstance(value, list)), [])
    faults: list[Fault] = []
    cues = list(_cues(entries if isinstance(entries, list) else [], faults))
    cues = in_time_order(cues, faults, OVERLAP_SECONDS)
    return [Script(cues=_with_missed_speakers(cues), faults=faults)]


def _cues(entries: Sequence[object], faults: list[Fault]) -> Iterator[Cue]:
    for number, entry in enumerate(entries, start=1):
        where = f"entry {number}"
        text = _value(entry, _TEXT) if isinstance(entry, dict) else None
        if not isinstance(entry, dict) or not isinstance(text, str) or not text.strip():
            faults.append(bad_row(where, "it has no text"))
            continue
        start, end = _times(entry)
        if start is None or (end is not None and end < start):
            stated = {key: entry[key] for key in (*_START, *_END) if key in entry}
            reason = f"its times are not valid ({str(stated)[:80]})"
            faults.append(bad_time(where, reason, "correct the times if they matter"))
            end = start
        speaker = _speaker(entry)
        if speaker is None and is_programme_part(text):
            yield Cue(text=text.strip(), start=start, end=end, kind="boilerplate")
        else:
            cue = Cue(text=" ".join(text.split()), speaker=speaker, start=start, end=end)
            yield from _by_word(entry, cue)


def _by_word(entry: dict[str, Any], cue: Cue) -> Iterator[Cue]:
    """Yield a segment's parts by speaker where its words, and not itself, name several."""
    words = entry.get("words")
    words = [word for word in words if isinstance(word, dict)] if isinstance(words, list) else []
    names = [_speaker(word) for word in words]
    counts = Counter(name for name in names if name)
    if cue.speaker is not None or not counts:
        yield cue
        return
    if len(counts) == 1:
        yield replace(cue, speaker=next(iter(counts)))
        return
    run: list[dict[str, Any]] = []
    speaker: str | None = None
    for word, name in zip(words, names, strict=True):
        if name is not None and speaker is not None and name != speaker:
            yield _join_words(run, speaker, cue)
            run = []
        run.append(word)
        speaker = name or speaker
    if speaker is not None:
        yield _join_words(run, speaker, cue)


def _join_words(words: Sequence[dict[str, Any]], speaker: str, cue: Cue) -> Cue:
    text = " ".join(str(word.get("word", word.get("text", ""))) for word in words)
    starts = [time for word in words if (time := seconds(word.get("start"))) is not None]
    ends = [time for word in words if (time := seconds(word.get("end"))) is not None]
    return Cue(
        text=" ".join(text.split()),
        speaker=speaker,
        start=min(starts, default=cue.start),
        end=max(ends, default=cue.end),
    )


def _with_missed_speakers(cues: Sequence[Cue]) -> list[Cue]:
    """Give a nameless cue between two of one speaker to that speaker: diarisation missed it."""
    result = list(cues)
    for at in range(1, len(cues) - 1):
        before, cue, after = cues[at - 1 : at + 2]
        same = before.speaker is not None and before.speaker == after.speaker
        if same and cue.speaker is None and all(c.kind == "turn" for c in (before, cue, after)):
            result[at] = replace(cue, speaker=before.speaker)
    return result


def read_conversations(path: Path) -> list[Script]:
    """Return a script for each row of `conversation: [{from, text}]`; bad rows are faults."""
    scripts: list[Script] = []
    faults: list[Fault] = []
    for number, row in _rows(read_text(path)):
        turns = row.get("conversation") if isinstance(row, dict) else None
        if not isinstance(row, dict) or not isinstance(turns, list):
            faults.append(bad_row(f"row {number}", 'it has no list "conversation"'))
            continue
        cues = list(_turns(turns, f"row {number}, turn", faults))
        if not cues:
            faults.append(bad_row(f"row {number}", "none of its turns has words"))
            continue
        title = row.get("title") or row.get("id") or row.get("episode")
        key = str(row.get("id") or number)
        scripts.append(Script(cues=cues, title=str(title)[:200] if title else None, key=key))
    return [Script(cues=(), faults=faults), *scripts] if faults else scripts


def _turns(turns: Sequence[object], where: str, faults: list[Fault]) -> Iterator[Cue]:
    for number, turn in enumerate(turns, start=1):
        text = turn.get("text") if isinstance(turn, dict) else None
        if not isinstance(turn, dict) or not isinstance(text, str) or not text.strip():
            faults.append(bad_row(f"{where} {number}", "it has no text"))
            continue
        start, end = _times(turn)
        for part in filter(None, (" ".join(part.split()) for part in text.split("\n\n"))):
            yield Cue(text=part, speaker=_speaker(turn), start=start, end=end, paragraph=True)
            start = None


def _rows(text: str) -> Iterator[tuple[int, object]]:
    """Yield (number, row) of JSON lines, of a list, or of one object."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        lines = enumerate(text.split("\n"), start=1)
        yield from ((number, _parse(line)) for number, line in lines if line.strip())
    else:
        yield from enumerate(value if isinstance(value, list) else [value], start=1)
