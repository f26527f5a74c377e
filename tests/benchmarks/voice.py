"""Whose voice: the decision per chapter on public-domain memoirs, against what a reader would say.

`python -m tests.benchmarks.voice [FOLDER]` reads the books of the test corpora. What is another's
is named by the words with which it begins and ends, so that it holds for every format.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from memoirist.data.authorship.attribution import (
    Attribution,
    AttributionSettings,
    attribute_sections,
)
from memoirist.data.passages.segmentation import PROSE, Section, sections
from memoirist.data.passages.settings import ChapterSettings
from memoirist.data.schema.errors import SourceError
from memoirist.data.schema.records import Block, Rows
from memoirist.data.text.language_detection import detect_language
from memoirist.data.text.words import count_words
from memoirist.extractors import discover, extract, read_source
from memoirist.extractors.settings import ExtractSettings
from tests.conftest import CORPORA


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """One book: its files, its persona, and the spans of others, by first and last words."""

    files: tuple[str, ...]
    names: tuple[str, ...]
    others: tuple[tuple[str, str], ...] = ()


_SAYS = re.compile(r"\b(?:said|wrote|reply|follow\w*|editorially)$")
_END = ""  # to the end of the book
BOOKS = (
    Book(
        files=("darwin/2010-h.htm", "darwin/2010.txt"),
        names=("Charles Darwin",),
        others=(("My father's autobiographical recollections", "kept down to the minimum"),),
    ),
    Book(
        files=("franklin/148-h.htm", "franklin/148.txt", "franklin/franklin-standardebooks.epub"),
        names=("Benjamin Franklin",),
        others=(
            ("was born in Milk Street, Boston, on January 6", "great autobiographies of the world"),
            ("have often been desirous of writing to thee", "nothing that can equal it"),
            ("When I had read over your sheets of minutes", "Benj. Vaughan"),
            ("Ending, as it does, with the year 1757", _END),
            ("We Americans devour eagerly", "Frank Woodworth Pine"),
        ),
    ),
    Book(
        files=("incidents/11030-h.htm", "incidents/11030-0.txt"),
        names=("Harriet Jacobs", "Linda Brent"),
        others=(
            ("The author of the following autobiography is", "den of corruption and cruelty"),
            ("The following statement is from Amy Post", _END),
        ),
    ),
    Book(
        files=(
            "up-from-slavery/2376-h.htm",
            "up-from-slavery/2376.txt",
            "up-from-slavery/pg2376.epub",
        ),
        names=("Booker T. Washington",),
        others=(
            ("The details of Mr. Washington's early life", "a great national service"),
            ("I thank you for sending me a copy of your address", "Grover Cleveland"),
            ("Would it be agreeable to you to be one of the Judges", "Gilman"),
            ("Harvard University desired to confer on you", "Charles W. Eliot"),
            ("Many of the best citizens of West Virginia", "Very truly yours"),
            ("We, the citizens of Charleston and West Virginia", "Yours very respectfully"),
            ("By this mail I take pleasure in sending you engrossed", "Institute, Tuskegee, Ala"),
            ("While President Cleveland was waiting", "facing each other, hand in hand"),
            ("The core and kernel of yesterday's", "Three cheers to Booker T. Washington"),
            ("He pictured the Negro choosing slavery", "opportunity to live for its country"),
            ("Before you left home you told me to work", "shall have money to pay my expenses"),
            ("When the name of Booker T. Washington was", "accomplished for his race"),
            ("In conferring the honorary degree of Master", "whether his skin be white or black"),
            ("It is Harvard which, first among", "only the future can estimate"),
            ("All the speeches were enthusiastically", "was vociferous and long-continued"),
            ("To meet you under such pleasant auspices", "and a true philanthropist"),
            ("I cannot make a speech to-day. My heart", "were on earth, would be doing the same"),
            ("We have witnessed many spectacles", "we have witnessed here this morning"),
            ("Booker T. Washington, the foremost educator among", "the people of his race"),
        ),
    ),
    Book(
        files=("carnegie/17976-h.htm", "carnegie/17976-8.txt"),
        names=("Andrew Carnegie",),
        others=(
            ("retiring from active business my husband", "a rare and beautiful friendship"),
            ("story of a man's life, especially when it is told", "not look upon again"),
            ("My wife has long ago offered her thanks", "W.E. Gladstone"),
            ("I have for some time past been anxious to express", "dear Mr. Carnegie"),
            ("We, the employees of the Homestead Steel Works", "won for you an appreciation"),
        ),
    ),
    Book(
        files=("rousseau/3913-0.txt",),
        names=("Jean Jacques Rousseau",),
        others=(
            ("Among the notable books of later times", "raise the tardy bust"),
            ("I did not receive your letter of the 17th of December", "to advance for me"),
            ("M. de Luxembourg set off yesterday morning", "shall do so for my whole life"),
        ),
    ),
    Book(
        files=("grant/4367-pdf.pdf",),
        names=("Ulysses S. Grant",),
        others=(
            ("HEADQUARTERS, FORT DONELSON, February", "Forces, Near Fort Donelson"),
            ("HEADQUARTERS, DOVER, TENNESSEE", "S. B. BUCKNER"),
            ("NASHVILLE, February 25, 1862", "leave here at 12 o'clock"),
            ("MAJ.-GEN. U. S. GRANT, Fort Henry", "H. W. HALLECK"),
            ("OFFICE U. S. MILITARY TELEGRAPH", "A. LINCOLN"),
            ("I received your letter of this date containing the terms", "R. E. LEE"),
            ("NEAR BERMUDA LANDING, May 9", "BENJ. F. BUTLER"),
            ("Dispatch about Wilson just received", "W. T. SHERMAN"),
            ("Hood moved his army from Palmetto", "W. T. SHERMAN"),
            ("your note of this date. Though not entertaining", "R. E. LEE"),
            ("I received, at a late hour, your note of to-day", "R. E. LEE"),
            ("I have received your letter of this date containing", "R. E. LEE"),
            ("I have received your note of this day. Though not", "R. E. LEE"),
            ("I received your note of this morning on the picket", "R. E. LEE"),
        ),
    ),
    Book(
        files=("meditations/meditations.pdf", "meditations/55317.txt"), names=("Marcus Aurelius",)
    ),
    Book(files=("../books-zh/nahan/27166-0.txt",), names=("魯迅",)),
)


def main() -> None:
    """Print each book's decisions, then words of others dropped and the author's words lost."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else CORPORA
    totals = [0, 0, 0]
    for book in BOOKS:
        for name in book.files:
            path = (folder / "books" / name).resolve()
            if not path.exists():
                _tell(f"{name}: not here")
                continue
            try:
                right, wrong, missed = _measure(path, name, book)
            except SourceError as error:
                _tell(f"{name}: {error}")
                continue
            totals = [totals[0] + right, totals[1] + wrong, totals[2] + missed]
    right, wrong, missed = totals
    precision, recall = right / max(1, right + wrong), right / max(1, right + missed)
    _tell(f"\nwords set aside: rightly {right:,}, wrongly {wrong:,}; others' kept: {missed:,}")
    _tell(f"precision {precision:.4f}, recall {recall:.4f}")


def _measure(path: Path, name: str, book: Book) -> tuple[int, int, int]:
    now = datetime.now(UTC)
    (found,) = discover([str(path)])
    source = read_source(found, now)
    rows: Rows = extract(source, ExtractSettings())
    (document, *_) = rows.documents
    blocks = [b for b in rows.blocks if b.document_id == document.id]
    lang = document.lang or detect_language(" ".join(b.text for b in blocks if b.kind in PROSE))
    settings = AttributionSettings(
        source=source, names=book.names, chapters=ChapterSettings(), automatic=True, now=now
    )
    heard = attribute_sections(replace(document, lang=lang), blocks, settings)
    # Notes and indexes are matter of their own, whoever wrote them.
    matter = {v.subject_id for v in heard.verdicts if v.rule == "apparatus"}
    others = _others(blocks, book) - matter
    heard = replace(heard, excluded=heard.excluded - matter)
    right, wrong, missed = (
        _words(blocks, heard.excluded & others),
        _words(blocks, heard.excluded - others),
        _words(blocks, others - heard.excluded),
    )
    _tell(f"\n{name}, words: aside rightly {right:,}, wrongly {wrong:,}; others' kept {missed:,}")
    for section in sections(blocks):
        _tell_section(section, heard, others)
    return right, wrong, missed


def _tell_section(section: Section, heard: Attribution, others: set[str]) -> None:
    prose = [b for b in section.blocks if b.kind in PROSE]
    ids = {b.id for b in prose}
    verdicts = [v for v in heard.verdicts if v.subject_id in {b.id for b in section.blocks}]
    if not verdicts and not ids & others:
        return
    wrong, missed = (ids & heard.excluded) - others, (ids & others) - heard.excluded
    mark = " WRONG" * bool(wrong) + " MISSED" * bool(missed)
    _tell(f"  {section.title!s:.50}: {len(ids & heard.excluded)} of {len(ids)} blocks aside{mark}")
    for reason, rule in dict.fromkeys((v.reason, v.rule) for v in verdicts):
        _tell(f"      {rule}: {reason[:150]}")
    for block in prose:
        if block.id in wrong | missed:
            _tell(f"      {'wrong' if block.id in wrong else 'missed'}: {block.text[:90]!r}")


def _others(blocks: list[Block], book: Book) -> set[str]:
    """Return the ids of the prose between the first and the last words of each of others' spans."""
    plain = [_plain(block.text) for block in blocks]
    found: set[str] = set()
    for first, last in book.others:
        start = next((n for n, text in enumerate(plain) if _plain(first) in text), None)
        if start is None:
            continue
        ends = (n for n in range(start, len(plain)) if last and _plain(last) in plain[n])
        end = next(ends, start if last else len(plain) - 1)
        # The lines of date and greeting before, the signature and its place behind.
        while (
            start > 0 and len(plain[start - 1].split()) <= 8 and not _SAYS.search(plain[start - 1])
        ):
            start -= 1
        while end + 1 < len(plain) and len(plain[end + 1].split()) <= 8:
            end += 1
        found |= {b.id for b in blocks[start : end + 1] if b.kind in PROSE}
    return found


def _is_short(line: str) -> bool:
    return len(line.split()) <= 8 and _SAYS.search(line) is None


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[^\w\s]", "", text).casefold().split())


def _words(blocks: list[Block], ids: set[str]) -> int:
    return sum(count_words(block.text) for block in blocks if block.id in ids)


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()
