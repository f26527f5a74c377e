"""Every transcript of the test corpora: what it is taken for, who speaks how much, how long."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from memoirist.data.schema.errors import SourceError
from memoirist.data.schema.records import Block
from memoirist.data.text.words import count_words
from memoirist.extractors import ExtractSettings, SourceRef, extract, read_source
from memoirist.extractors.detection.sniff import format_of

_ROOT = Path(__file__).parent.parent.parent
CORPORA = Path(os.environ.get("MEMOIRIST_CORPORA", _ROOT.parent / "shared" / "corpora"))
_PLACES = ("podcasts/**/*", "derived/podcasts/*", "derived/datasets/lfpodcast_like*")


def main() -> None:
    """Print a line for each file: format, turns, words, seconds covered, speakers' shares."""
    if not CORPORA.is_dir():
        sys.stdout.write("transcripts: the corpora are not here; set MEMOIRIST_CORPORA\n")
        return
    began = time.process_time()
    paths = sorted(p for place in _PLACES for p in CORPORA.glob(place) if p.is_file())
    for line in map(told, paths):
        sys.stdout.write(line + "\n")
    sys.stdout.write(f"{len(paths)} files in {time.process_time() - began:.1f} CPU seconds\n")


def told(path: Path) -> str:
    """Return one file's line."""
    known = format_of(path)
    name = f"{path.relative_to(CORPORA)!s:<66}"
    if known is None:
        return f"{name} no transcript"
    try:
        source = read_source(SourceRef(path=path, format=known.name), datetime.now(UTC))
        rows = extract(source, ExtractSettings())
    except SourceError as error:
        return f"{name} {known.name:<13} {error}"
    turns = [block for block in rows.blocks if block.kind == "turn"]
    lost = Counter(verdict.rule for verdict in rows.verdicts)
    words = sum(count_words(turn.text) for turn in turns)
    return (
        f"{name} {known.name:<13} {len(turns):>5} turns {words:>6} words {covered(turns):>8}"
        f"  {', '.join(shares(turns))}  {dict(lost) if lost else ''}"
    )


def covered(turns: list[Block]) -> str:
    """Return the seconds from the first time to the last, "-" where none is told."""
    starts = [turn.start_seconds for turn in turns if turn.start_seconds is not None]
    ends = [turn.end_seconds for turn in turns if turn.end_seconds is not None]
    return f"{max(ends or starts) - min(starts):.0f} s" if starts else "-"


def shares(turns: list[Block]) -> Iterator[str]:
    """Give each speaker with the share of the words, the first six of them."""
    spoken: Counter[str] = Counter()
    for turn in turns:
        spoken[turn.speaker or "(unnamed)"] += count_words(turn.text)
    total = sum(spoken.values()) or 1
    for name, n in spoken.most_common(6):
        yield f"{name} {100 * n / total:.0f} %"
    if len(spoken) > 6:
        yield f"and {len(spoken) - 6} more"


if __name__ == "__main__":
    main()
