"""Read rows of `conversation: [{from, text}]`, as hub datasets of podcasts have them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from memoirist.extractors.transcript.formats.base import Cue, Fault, Script
from memoirist.extractors.transcript.json_fields import bad_row, speaker_of, times_of
from memoirist.extractors.transcript.reading import read_text


def read_conversations(path: Path) -> list[Script]:
    """Return a script for each row of `conversation: [{from, text}]`; bad rows are faults."""
    scripts: list[Script] = []
    faults: list[Fault] = []
    for number, row in _rows(path):
        turns = row.get("conversation") if isinstance(row, dict) else None
        if not isinstance(row, dict) or not isinstance(turns, list):
            faults.append(bad_row(f"row {number}", 'it has no list "conversation"'))
            continue
        own: list[Fault] = []
        cues = list(_turns(turns, f"row {number}, turn", own))
        faults += own
        if not cues:
            faults.append(bad_row(f"row {number}", "no turn of it has words"))
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
            faults.append(bad_row(f"{where} {number}", "it has no text"))
            continue
        start, end = times_of(turn)
        paragraphs = [" ".join(part.split()) for part in text.split("\n\n") if part.strip()]
        for n, part in enumerate(paragraphs):
            yield Cue(
                text=part,
                speaker=speaker_of(turn),
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
