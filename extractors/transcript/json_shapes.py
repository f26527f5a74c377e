"""Read the JSON that transcripts come in: Whisper, Podcasting 2.0, Podlove, conversations."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from extractors.transcript.cues import Cue, Fault, Script
from extractors.transcript.reading import MAX_BYTES, read_head, read_text
from extractors.transcript.stage import is_part
from extractors.transcript.times import seconds

_TEXT = ("text", "body", "content", "transcript")
_SPEAKER = ("voice", "speaker", "speaker_name", "speakerName", "speaker_label", "from")
_START = ("start", "startTime", "start_time", "begin")
_END = ("end", "endTime", "end_time")
# Roles of a chat, not names: such a file is a dataset, read elsewhere.
_ROLES = frozenset("system user assistant human gpt bot model chatgpt ai tool function".split())
_NEXT_STEP = "mend the row, or leave it out"


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
    text = next((entry[key] for key in _TEXT if key in entry), None)
    if isinstance(entry.get("timestamps"), dict):
        return isinstance(text, str)
    begins = seconds(_value(entry, _START)) is not None or entry.get("start", 0) is None
    bounded = any(key in entry for key in (*_END, "duration", *_SPEAKER))
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
        text = _value(entry, _TEXT) if isinstance(entry, dict) else None
        if not isinstance(entry, dict) or not isinstance(text, str) or not text.strip():
            faults.append(_bad(where, "it has no text"))
            continue
        start, end = _times(entry)
        if start is None or (end is not None and end < start):
            faults.append(_bad_time(where, entry))
            end = start
        speaker = _speaker(entry)
        if speaker is None and is_part(text):
            yield Cue(text=text.strip(), start=start, end=end, kind="boilerplate")
            continue
        cue = Cue(text=" ".join(text.split()), speaker=speaker, start=start, end=end)
        yield from _by_word(entry, cue)


def _by_word(entry: dict[str, Any], cue: Cue) -> Iterator[Cue]:
    """Give a segment's parts by speaker where its words, and not itself, name several."""
    words = entry.get("words")
    spoken = [w for w in words if isinstance(w, dict)] if isinstance(words, list) else []
    names = [_speaker(word) for word in spoken]
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


def read_conversations(path: Path) -> list[Script]:
    """Return a script for each row of `conversation: [{from, text}]`; bad rows are faults."""
    scripts: list[Script] = []
    faults: list[Fault] = []
    for number, row in _rows(path):
        turns = row.get("conversation") if isinstance(row, dict) else None
        if not isinstance(row, dict) or not isinstance(turns, list):
            faults.append(_bad(f"row {number}", 'it has no list "conversation"'))
            continue
        own: list[Fault] = []
        cues = list(_turns(turns, f"row {number}, turn", own))
        faults += own
        if not cues:
            faults.append(_bad(f"row {number}", "no turn of it has words"))
            continue
        told = row.get("title") or row.get("id") or row.get("episode")
        key = str(row.get("id") or number)
        scripts.append(Script(cues=cues, title=str(told)[:200] if told else None, key=key))
    first = Script(cues=(), faults=faults)
    return [first, *scripts] if faults else scripts


def _turns(turns: Sequence[object], where: str, faults: list[Fault]) -> Iterator[Cue]:
    for number, turn in enumerate(turns, start=1):
        text = turn.get("text") if isinstance(turn, dict) else None
        if not isinstance(turn, dict) or not isinstance(text, str) or not text.strip():
            faults.append(_bad(f"{where} {number}", "it has no text"))
            continue
        start, end = _times(turn)
        paragraphs = [" ".join(part.split()) for part in text.split("\n\n") if part.strip()]
        for n, part in enumerate(paragraphs):
            yield Cue(
                text=part,
                speaker=_speaker(turn),
                start=start if n == 0 else None,
                end=end,
                paragraph=True,
            )


def _rows(path: Path) -> Iterator[tuple[int, object]]:
    """Give (number, row) of JSON lines, of a list, or of one object."""
    text = read_text(path)
    try:
        whole = json.loads(text)
        yield from enumerate(whole if isinstance(whole, list) else [whole], start=1)
    except (ValueError, RecursionError):
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                try:
                    yield number, json.loads(line)
                except (ValueError, RecursionError):
                    yield number, None


def _value(entry: dict[str, Any], keys: Sequence[str]) -> object:
    return next((entry[key] for key in keys if entry.get(key) not in (None, "")), None)


def _times(entry: dict[str, Any]) -> tuple[float | None, float | None]:
    stamps = entry.get("timestamps")
    if isinstance(stamps, dict):
        return seconds(stamps.get("from")), seconds(stamps.get("to"))
    return seconds(_value(entry, _START)), seconds(_value(entry, _END))


def _speaker(entry: dict[str, Any]) -> str | None:
    value = _value(entry, _SPEAKER)
    if isinstance(value, dict):
        value = value.get("name") or value.get("label")
    if isinstance(value, int) and not isinstance(value, bool):
        value = f"SPEAKER_{value:02}"
    return " ".join(value.split()) or None if isinstance(value, str) else None


def _bad(where: str, reason: str) -> Fault:
    return Fault(where=where, rule="bad_row", reason=reason, next_step=_NEXT_STEP)


def _bad_time(where: str, entry: dict[str, Any]) -> Fault:
    told = {key: entry[key] for key in (*_START, *_END) if key in entry}
    return Fault(
        where=where,
        rule="bad_time",
        reason=f"its times cannot be ({str(told)[:80]}); its words are kept",
        next_step="mend the times where the second matters",
        keep=True,
    )
