"""Books that are not PDF, read in two formats each: the one is held against the other.

The text of an edition as HTML stands for the truth of the same edition as TXT or EPUB. Where a
book is there in other editions only, their differences are counted as faults too.
"""

from __future__ import annotations

import re
import sys
import time
from collections import Counter
from pathlib import Path

from memoirist.data.schema.errors import SourceError
from tests.benchmarks.scoring import Score, Truth, score
from tests.conftest import CORPORA
from tests.support.text_books import read

# What is read, what it is held against, and whether both are the same edition of the text.
PAIRS = (
    ("up-from-slavery/2376.txt", "up-from-slavery/2376-h.htm", True),
    ("up-from-slavery/pg2376.epub", "up-from-slavery/2376-h.htm", True),
    ("darwin/2010.txt", "darwin/2010-h.htm", True),
    ("carnegie/17976-8.txt", "carnegie/17976-h.htm", True),
    ("incidents/11030-0.txt", "incidents/11030-h.htm", True),
    ("franklin/148-8.txt", "franklin/148-h.htm", True),
    ("purvis/epub_purvis_poetry.epub", "purvis/epub_purvis_poetry.epub.md", True),
    ("franklin/148.txt", "franklin/148-h.htm", False),
    ("franklin/franklin-standardebooks.epub", "franklin/148-h.htm", False),
    ("grant/old_3musg10.txt", "grant/4367.txt", False),
    ("up-from-slavery/old_slvry10.txt", "up-from-slavery/2376.txt", False),
    ("moby-dick/moby-dick.epub", "", False),
)
_PROSE = {"paragraph", "quote"}


def prose(path: Path) -> tuple[list[str], list[str], float]:
    """Return the prose, the notes and the CPU seconds of reading a file."""
    began = time.process_time()
    blocks = read(path).blocks
    seconds = time.process_time() - began
    return (
        [block.text for block in blocks if block.kind in _PROSE],
        [block.text for block in blocks if block.kind == "footnote"],
        seconds,
    )


def held(found: list[str], wanted: list[str], notes: list[str]) -> Score:
    """Return the score of what was found against what another format of the book says."""
    truth = Truth(
        name="", path=Path(), paragraphs=tuple(wanted), notes=tuple(n for n in notes if len(n) > 60)
    )
    return score(truth, found, min_words=1)


def _flat(text: str) -> str:
    return re.sub(r"\s+(?=[,.;])", "", re.sub(r"[-–—]", " ", text))


def row(name: str, against: str, *, same: bool) -> str:
    """Return one line of the table."""
    books = CORPORA / "books"
    try:
        found, _, seconds = prose(books / name)
    except SourceError as error:
        return f"{name:<38} {error}"
    kinds = Counter(block.kind for block in read(books / name).blocks)
    told = ", ".join(f"{n} {kind}" for kind, n in kinds.most_common(4))
    if not against:
        return f"{name:<38} {'':<38} {seconds:5.1f} s  {told}"
    wanted, notes, _ = prose(books / against)
    if against.endswith(".md"):
        # The Markdown truth writes every dash as a hyphen and puts spaces before commas.
        found, wanted = ([_flat(text) for text in texts] for texts in (found, wanted))
    scored = held(found, wanted, notes)
    edition = "same" if same else "other"
    return (
        f"{name:<38} {against:<36} {edition:<5} F1 {scored.f1:.4f}  exact {scored.exact:>5} of"
        f" {scored.truth:<5} ({scored.exact / max(1, scored.truth):.3f})  {scored.notes} notes left"
        f"  {seconds:5.1f} s  {told}"
    )


def main() -> None:
    """Print the table; without the test corpora say so."""
    if not CORPORA.is_dir():
        sys.stdout.write(f"e-books: the test corpora are not at {CORPORA}\n")
        return
    for name, against, same in PAIRS:
        sys.stdout.write(row(name, against, same=same) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
