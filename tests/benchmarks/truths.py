"""Make each benchmark book's true paragraphs from its source text.

The rule for all: a paragraph is what blank lines part. Headings, title pages, contents, licences
and typesetters' remarks are neutral; footnotes are notes; what is left is the author's prose.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tests.benchmarks.scoring import Truth
from tests.tools.typeset import parse, plain

_BLANK = re.compile(r"\n\s*\n")
_GRANT_NEUTRAL = re.compile(
    r"CHAPTER [IVXLC]+\.|VOLUME I|PREFACE|CONTENTS|CONCLUSION\.|Produced|PERSONAL MEMOIRS OF"
)
_GEOTOPO_HEAD = re.compile(
    r"(?m)^(?:\d{1,3}|[ivx]{1,4}) (?:\d\.\d\. [^a-zäöü\n]{6,}"
    r"|(?:Inhalts|Stichwort|Symbol)verzeichnis|Lösungen der Übungsaufgaben)$|^[ivx]{2,4}$"
)
SAMPLES = Path(__file__).parent.parent.parent / "data" / "samples"


def truths_of(corpora: Path | None) -> Iterator[Truth]:
    """Give the truths whose PDFs are there; the bundled memoir is always one."""
    yield memoir()
    if corpora is None:
        return
    for make in (grant, meditations, flatland, geotopo, crazy_ones, handbook):
        truth = make(corpora)
        if truth.path.is_file():
            yield truth


def _paragraphs(path: Path) -> list[str]:
    text = path.read_text("utf-8", errors="replace")
    return [" ".join(part.split()) for part in _BLANK.split(text) if part.strip()]


def memoir() -> Truth:
    """Return the bundled memoir, whose truth its typesetting script writes."""
    lines = (SAMPLES / "truth.txt").read_text("utf-8").splitlines()
    book = parse((SAMPLES / "memoir.md").read_text("utf-8"))
    titles = [line[2:] for line in lines if line.startswith("# ")]
    heads = "|".join(re.escape(each.casefold()) for each in [book.title, *titles])
    front = [book.title, book.author, "A Memoir", "Gantry Lane Books Hebthorpe"]
    return Truth(
        name="memoir",
        path=SAMPLES / "memoir.pdf",
        paragraphs=tuple(line for line in lines if not line.startswith("# ")),
        neutral=(*front, *(f"{n} {title}" for n, title in enumerate(titles, 1))),
        notes=tuple(plain(note) for note in book.notes.values()),
        heads=re.compile(rf"(?:{heads})\s+\d{{1,3}}\b|\b\d{{1,3}}\s+(?:{heads})"),
    )


def grant(corpora: Path) -> Truth:
    """Return Grant's memoirs: 4367.txt between Gutenberg's marks, less the chapters' arguments.

    The PDF numbers the endnotes "1." where the text has "(*1)"; its contents and its older
    licence are its own, and the reader who keeps them is blamed by precision.
    """
    folder = corpora / "books" / "grant"
    text = (folder / "4367.txt").read_text("utf-8", errors="replace")
    text = text[text.index("*** START OF") : text.rindex("End of the Project Gutenberg EBook")]
    parts = [" ".join(part.split()) for part in _BLANK.split(text)[1:] if part.strip()]
    neutral, prose = [], []
    for part in parts:
        # The lines in capitals below "CHAPTER III." name what the chapter is about.
        heading = part.isupper() and "--" in part and not re.search(r"\d{3}", part)
        kind = neutral if heading or _GRANT_NEUTRAL.match(part) else prose
        kind.append(re.sub(r"^\(\*(\d+)\)", r"\1.", part.replace("_", "")))
    return Truth(
        name="Grant",
        path=folder / "4367-pdf.pdf",
        paragraphs=tuple(prose),
        neutral=tuple(neutral),
        heads=re.compile(r"\bchapter \d+\. [^a-z]*[a-z' -]+ \d{1,3}\b"),
    )


def meditations(corpora: Path) -> Truth:
    """Return the Meditations; their "BOOK III. ..." heads alternate with bare numbers."""
    folder = corpora / "books" / "meditations"
    parts = _paragraphs(folder / "meditations.truth.txt")
    start = next(n for n, part in enumerate(parts) if part.startswith("1. I LEARNED"))
    ends = re.compile(r"End of the book|THE END\.")
    books = "First Second Third Fourth Fifth Sixth Seventh Eighth Ninth Tenth Eleventh".split()
    return Truth(
        name="Meditations",
        path=folder / "meditations.pdf",
        paragraphs=tuple(each for each in parts[start:] if not ends.match(each)),
        neutral=(*parts[:start], "THE END.", *(f"End of the {each} Book" for each in books)),
        heads=re.compile(r"\bbook [ivx]+\. [a-z ,;']+\.\.\."),
    )


def flatland(corpora: Path) -> Truth:
    """Return Flatland from its preface on, footnotes apart, their "[2]" taken out of the prose."""
    folder = corpora / "books" / "flatland"
    parts = _paragraphs(folder / "main.truth.txt")
    start = parts.index("Preface")
    prose, neutral, notes = [], list(parts[:start]), []
    for part in parts[start:]:
        # The notes come last, and one of them has three paragraphs.
        if notes or part.startswith("[1] "):
            notes.append(re.sub(r"^\[\d\] ", "", part))
        elif part == "[image]" or (len(part) < 110 and part[-1] not in ".?!”:,’;—"):
            neutral.append(part)
        else:
            prose.append(re.sub(r" ?\[\d\]", "", part))
    return Truth(
        name="Flatland",
        path=folder / "oneside_a4.pdf",
        paragraphs=tuple(prose),
        neutral=tuple(neutral),
        notes=tuple(notes),
    )


def _whole(name: str, path: Path, truth: Path, cut: str = "") -> Truth:
    """Return a file whose reference knows the words but not the paragraphs."""
    text = truth.read_text("utf-8", errors="replace") if truth.is_file() else ""
    text = re.sub(cut, " ", text) if cut else text
    return Truth(name=name, path=path, paragraphs=(text,), exact=False)


def geotopo(corpora: Path) -> Truth:
    """Return a German textbook of mathematics, figures and formulae.

    Its reference holds the running heads with their page numbers, which are neutral here.
    """
    folder = corpora / "pdf-bench" / "py-pdf"
    pdf = folder / "pdfs" / "GeoTopo-komprimiert.pdf"
    whole = _whole("GeoTopo", pdf, folder / "ground-truth" / "GeoTopo-book.txt")
    (text,) = whole.paragraphs
    heads = tuple(_GEOTOPO_HEAD.findall(text))
    return replace(whole, paragraphs=(_GEOTOPO_HEAD.sub(" ", text),), neutral=heads)


def crazy_ones(corpora: Path) -> Truth:
    """Return one page of short lines."""
    folder = corpora / "pdf-gt"
    return _whole("crazyones", folder / "crazyones.pdf", folder / "crazyones.txt")


def handbook(corpora: Path) -> Truth:
    """Return a page in two columns against docling's reading of it."""
    folder = corpora / "pdf-gt" / "docling"
    pdf, text = folder / "amt_handbook_sample.pdf", folder / "amt_handbook_sample.md"
    return _whole("handbook", pdf, text, cut=r"(?m)^#+ |<!--.*?-->")
