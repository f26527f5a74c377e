"""Passages that stand alone: openings, ends and voices against the labels of a reader.

`python -m tests.benchmarks.passage_borders [FOLDER]` splits four memoirs of the test corpora and
looks at 200 passages of an earlier split that a person had read (30 of each book at random, 20 with
a suspicion). The labels are in `tests/data/passages/labels.tsv`: a passage is named by the hashes
of its first and last 8 words. A fault is cured where no kept passage begins or ends there any more.
"""

from __future__ import annotations

import csv
import hashlib
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from memoirist.data.authorship.attribution import AttributionSettings, attribute_sections
from memoirist.data.passages.borders import OPENING_COSTS, opening_fault
from memoirist.data.passages.segmentation import PROSE, split_prose
from memoirist.data.passages.settings import ChapterSettings, PassageSettings
from memoirist.data.schema.records import Block, Document, Passage, Source
from memoirist.data.text.language_detection import detect_language
from memoirist.extractors import discover, extract, read_source
from memoirist.extractors.settings import ExtractSettings
from tests.conftest import CORPORA, ROOT
from tests.support.curation import gated

LABELS = ROOT / "tests" / "data" / "passages" / "labels.tsv"
_WORD = re.compile(r"\w+")
# How much of a labelled passage may stay where most, or over a third, of it is another's.
_OWN_SHARE = {"other": 0.5, "mixed": 0.67}


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """One book, its persona, and what was kept when the labels were made.

    `pointing` is the number of those passages in which a rule on openings finds a fault.
    """

    name: str
    file: str
    author: str
    passages: int
    words: int
    pointing: int


BOOKS = (
    Book(
        name="franklin",
        file="franklin/148-8.txt",
        author="Benjamin Franklin",
        passages=279,
        words=58_929,
        pointing=97,
    ),
    Book(
        name="grant",
        file="grant/4367-pdf.pdf",
        author="Ulysses S. Grant",
        passages=1_249,
        words=258_081,
        pointing=187,
    ),
    Book(
        name="upfrom",
        file="up-from-slavery/pg2376.epub",
        author="Booker T. Washington",
        passages=352,
        words=72_374,
        pointing=62,
    ),
    Book(
        name="darwin",
        file="darwin/2010-h.htm",
        author="Charles Darwin",
        passages=114,
        words=22_223,
        pointing=18,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What a person said about one passage of the earlier split."""

    book: str
    sample: str
    start_hash: str
    end_hash: str
    opening: str
    repair: str
    bounds: str
    voice: str
    announced: str


def labels() -> list[Label]:
    with LABELS.open(encoding="utf-8") as file:
        return [Label(**row) for row in csv.DictReader(file, delimiter="\t")]


def word_hash(words: Sequence[str]) -> str:
    """Return the key of some words in `labels.tsv`."""
    return hashlib.blake2b(" ".join(words).encode(), digest_size=8).hexdigest()


def read(book: Book, folder: Path) -> tuple[Source, Document, list[Block]]:
    (found,) = discover([str(folder / "books" / book.file)])
    source = read_source(found, datetime.now(UTC))
    rows = extract(source, ExtractSettings())
    document = rows.documents[0]
    blocks = [b for b in rows.blocks if b.document_id == document.id]
    prose = " ".join(b.text for b in blocks if b.kind in PROSE)
    return source, replace(document, lang=document.lang or detect_language(prose)), blocks


def kept_passages(
    source: Source, document: Document, blocks: Sequence[Block], author: str
) -> list[Passage]:
    """Return the passages of a book that pass the gates."""
    now = datetime.now(UTC)
    settings = AttributionSettings(
        source=source, names=(author,), chapters=ChapterSettings(), automatic=True, now=now
    )
    voice = attribute_sections(document, blocks, settings)
    rows = split_prose(document, voice.blocks, PassageSettings(), now, voice.excluded)
    verdicts = gated(rows.passages, source.kind, document.lang or "en")
    dropped = {v.subject_id for v in verdicts if not v.keep}
    return [p for p in rows.passages if p.id not in dropped]


class Prose:
    """All prose of a book by the numbers of its words, so that hashes find their places."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        self.text = "\n\n".join(b.text for b in blocks if b.kind in PROSE)
        self.spans = [m.span() for m in _WORD.finditer(self.text)]
        words = [self.text[start:end].lower() for start, end in self.spans]
        self.places: dict[str, list[int]] = {}
        for n in range(len(words) - 7):
            self.places.setdefault(word_hash(words[n : n + 8]), []).append(n)

    def range(self, start_hash: str, end_hash: str) -> range:
        """Return the numbers of the words of a passage."""
        for first in self.places.get(start_hash, ()):
            for last in self.places.get(end_hash, ()):
                if 0 <= last - first < 700:
                    return range(first, last + 8)
        return range(0)

    def from_word(self, number: int) -> str:
        return self.text[self.spans[number][0] :][:2000]


def hashes(passage: Passage) -> tuple[str, str]:
    words = [word.lower() for word in _WORD.findall(passage.text)]
    return word_hash(words[:8]), word_hash(words[-8:])


def main() -> None:
    """Print each book's figures, then those of the rules on openings."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else CORPORA
    if not (folder / "books").is_dir():
        _tell(f"no books under {folder}")
        return
    openings: list[tuple[Label, str]] = []
    for book in BOOKS:
        source, document, blocks = read(book, folder)
        passages = kept_passages(source, document, blocks, book.author)
        prose = Prose(blocks)
        found = [label for label in labels() if label.book == book.name]
        openings += [(x, prose.from_word(prose.range(x.start_hash, x.end_hash)[0])) for x in found]
        _tell(f"\n{book.name}: {_sizes(book, passages)}")
        for line in _faults(found, passages, prose):
            _tell(f"  {line}")
        _tell(f"  {_rule_hits(book, passages)}")
    _tell_rules(openings)


def _sizes(book: Book, passages: Sequence[Passage]) -> str:
    words = sum(passage.n_words for passage in passages)
    return (
        f"passages {book.passages:,} -> {len(passages):,}, words {book.words:,} -> {words:,},"
        f" mean {book.words / book.passages:.0f} -> {words / len(passages):.0f}"
    )


def _faults(found: Sequence[Label], passages: Sequence[Passage], prose: Prose) -> Iterator[str]:
    keys = [hashes(passage) for passage in passages]
    starts, ends = {start for start, _ in keys}, {end for _, end in keys}
    for sample in ("random", "enriched"):
        some = [label for label in found if label.sample == sample]
        pointing = [label for label in some if label.opening == "points"]
        still = [label for label in pointing if label.start_hash in starts]
        yield f"{sample} {len(some)}: openings that point {len(pointing)} -> {len(still)}"
    cut = [(x.start_hash, starts) for x in found if "starts_in" in x.bounds]
    cut += [(x.end_hash, ends) for x in found if "ends_in" in x.bounds]
    yield f"cut letters, speeches and lists {len(cut)} -> {sum(key in at for key, at in cut)}"
    kept = {n for key in keys for n in prose.range(*key)}
    foreign = [x for x in found if x.voice in _OWN_SHARE]
    still = [x for x in foreign if _kept_share(x, kept, prose) > _OWN_SHARE[x.voice]]
    yield f"another's voice {len(foreign)} -> {len(still)}"


def _rule_hits(book: Book, passages: Sequence[Passage]) -> str:
    rules = Counter(rule for p in passages if (rule := opening_fault(p.text, "en")))
    each = ", ".join(f"{rule} {n}" for rule, n in rules.most_common())
    return f"openings in which a rule finds a fault {book.pointing} -> {rules.total()} ({each})"


def _kept_share(label: Label, kept: set[int], prose: Prose) -> float:
    numbers = prose.range(label.start_hash, label.end_hash)
    return sum(n in kept for n in numbers) / len(numbers)


def _tell_rules(openings: Sequence[tuple[Label, str]]) -> None:
    """Print how many of the openings that each rule finds point, and how many of all are found."""
    hits = {id(label): opening_fault(text, "en") for label, text in openings}
    pointing = sum(label.opening == "points" for label, _ in openings)
    _tell(f"\nrules on the {len(openings)} labelled openings, {pointing} of which point:")
    for rule in OPENING_COSTS:
        found = [label for label, _ in openings if hits[id(label)] == rule]
        right = sum(label.opening == "points" for label in found)
        _tell(f"  {rule:14} {right:3} of {len(found):3} right, recall {right / pointing:.2f}")
    found = [label for label, _ in openings if hits[id(label)]]
    right = sum(label.opening == "points" for label in found)
    _tell(f"  {'any':14} {right:3} of {len(found):3} right, recall {right / pointing:.2f}")


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()
