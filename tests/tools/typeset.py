"""Typeset the sample memoir into a book PDF and write its ground truth.

Run `python -m tests.tools.typeset [folder]`; without a folder the files land in `data/samples`.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyphen
from reportlab.lib.pagesizes import A5
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.pdfgen.canvas import Canvas

SAMPLES = Path(__file__).parents[2] / "data" / "samples"
PAGE_WIDTH: float = A5[0]
PAGE_HEIGHT: float = A5[1]
INNER, OUTER, TOP, FOOT = 62.0, 54.0, 70.0, 66.0
MEASURE = PAGE_WIDTH - INNER - OUTER
BODY_HEIGHT = PAGE_HEIGHT - TOP - FOOT
HEAD_Y = PAGE_HEIGHT - 48.0
FOLIO_Y = 40.0
# A chapter opens this far below the usual first line, to leave room for number and title.
SINKAGE = 118.0
NOTE_GAP = 12.0
# A line whose gaps would stretch by more than this share of a space is worth a hyphen.
LOOSE = 0.3
SHRINK = 0.04
MAX_HYPHENS_RUNNING = 2
FRONT_PAGES = 6

ROMAN, ITALIC = "Times-Roman", "Times-Italic"
PUBLISHER = "Gantry Lane Books"
PLACE = "Hebthorpe"
COPYRIGHT = (
    "Short Weight: A Memoir",
    "First published by Gantry Lane Books, Hebthorpe",
    "",
    "Edith Thackwray, her family, the town of Hebthorpe and the publisher",
    "named on this page are invented. No person, firm or place is meant.",
    "",
    "This text was written for the Memoirist project and may be used,",
    "copied and changed under the Apache License, Version 2.0.",
    "It is provided without warranty of any kind.",
    "",
    "Set in Times by the project's own typesetting script.",
)

_INLINE = re.compile(r"\*([^*]+)\*|\[\^(\d+)\]")
_HYPHENATOR = pyphen.Pyphen(lang="en_GB", left=2, right=3)


@dataclass(frozen=True)
class Piece:
    """Name a stretch of one word in one font; a note mark is a piece of its own."""

    text: str
    font: str = ROMAN
    note: int = 0

    def width(self, size: float) -> float:
        """Measure the piece at a type size."""
        return float(stringWidth(self.text, self.font, size * (0.62 if self.note else 1.0)))


Word = tuple[Piece, ...]


@dataclass(frozen=True)
class Setting:
    """Hold how one kind of paragraph is set."""

    size: float
    leading: float
    side: float = 0.0
    indent: float = 0.0
    gap: float = 0.0


BODY = Setting(size=11.0, leading=15.0, indent=14.0)
FIRST = replace(BODY, indent=0.0)
QUOTE = Setting(size=10.5, leading=14.0, side=20.0, gap=7.0)
NOTE = Setting(size=8.5, leading=10.5, indent=9.0)


@dataclass(frozen=True)
class Line:
    """Hold one broken line, ready to be drawn."""

    words: tuple[Word, ...]
    setting: Setting
    indent: float
    last: bool

    @property
    def notes(self) -> tuple[int, ...]:
        """List the footnotes called on this line."""
        return tuple(piece.note for word in self.words for piece in word if piece.note)


@dataclass(frozen=True)
class Paragraph:
    """Hold one paragraph of the source: its kind (`body` or `quote`) and its marked-up text."""

    kind: str
    text: str


@dataclass
class Chapter:
    """Hold one chapter of the source."""

    number: int
    title: str
    paragraphs: list[Paragraph] = field(default_factory=list)


@dataclass
class Book:
    """Hold the parsed source."""

    title: str
    author: str
    chapters: list[Chapter] = field(default_factory=list)
    notes: dict[int, str] = field(default_factory=dict)


@dataclass
class Page:
    """Hold one filled page: lines with their distance below the first baseline, and notes."""

    chapter: Chapter
    opening: bool
    placed: list[tuple[float, Line]] = field(default_factory=list)
    notes: list[Line] = field(default_factory=list)
    used: float = 0.0

    def room(self) -> float:
        """Measure the height left for text."""
        notes = sum(line.setting.leading for line in self.notes)
        sunk = SINKAGE if self.opening else 0.0
        return BODY_HEIGHT - sunk - self.used - notes - (NOTE_GAP if self.notes else 0.0)


def parse(source: str) -> Book:
    """Read the memoir's Markdown into chapters and notes."""
    book = Book(title="", author="")
    for block in (part.strip() for part in source.split("\n\n")):
        if not block:
            continue
        text = " ".join(line.removeprefix("> ") for line in block.splitlines())
        if note := re.match(r"\[\^(\d+)\]: ", text):
            book.notes[int(note[1])] = text[note.end() :]
        elif heading := re.match(r"## (\d+)\. (.+)", text):
            book.chapters.append(Chapter(int(heading[1]), heading[2]))
        elif text.startswith("# "):
            book.title = text[2:]
        elif not book.chapters:
            book.author = text.strip("*")
        else:
            kind = "quote" if block.startswith("> ") else "body"
            book.chapters[-1].paragraphs.append(Paragraph(kind, text))
    return book


def plain(text: str) -> str:
    """Strip emphasis and footnote marks from marked-up text."""
    return _INLINE.sub(lambda match: match[1] or "", text)


def truth(book: Book) -> str:
    """Write the clean text: headings as `# ` lines, then one paragraph per line."""
    lines: list[str] = []
    for chapter in book.chapters:
        lines.append(f"# {chapter.title}")
        lines += [plain(paragraph.text) for paragraph in chapter.paragraphs]
    return "\n".join(lines) + "\n"


def split_words(text: str) -> list[Word]:
    """Cut marked-up text into words made of styled pieces."""
    pieces: list[Piece] = []
    at = 0
    for match in _INLINE.finditer(text):
        pieces.append(Piece(text[at : match.start()]))
        number = match[2]
        pieces.append(Piece(number, note=int(number)) if number else Piece(match[1], ITALIC))
        at = match.end()
    pieces.append(Piece(text[at:]))
    words: list[list[Piece]] = [[]]
    for piece in pieces:
        for index, part in enumerate(piece.text.split(" ")):
            if index:
                words.append([])
            if part:
                words[-1].append(replace(piece, text=part))
    return [tuple(word) for word in words if word]


def word_width(word: Word, size: float) -> float:
    """Measure a word."""
    return sum((piece.width(size) for piece in word), start=0.0)


def cuts(text: str) -> list[tuple[str, str]]:
    """List the ways to break one piece, the shortest head first."""
    found = {match.end(): "" for match in re.finditer(r"(?<=\w)-(?=\w)", text)}
    for core in re.finditer(r"[a-z]{5,}", text):
        # A capital, an accent or a hyphen beside the core means a name, a loan or a compound.
        around = text[max(core.start() - 1, 0) : core.start()] + text[core.end() : core.end() + 1]
        if not re.search(r"[\w-]", around):
            found |= {core.start() + at: "-" for at in _HYPHENATOR.positions(core[0])}
    return [(text[:at] + hyphen, text[at:]) for at, hyphen in sorted(found.items())]


def break_word(word: Word, size: float, room: float) -> tuple[Word, Word] | None:
    """Break a word at the last place where its head still fits."""
    best: tuple[Word, Word] | None = None
    for index, piece in enumerate(word):
        for head, tail in [] if piece.note else cuts(piece.text):
            start = (*word[:index], replace(piece, text=head))
            if word_width(start, size) <= room:
                best = start, (replace(piece, text=tail), *word[index + 1 :])
    return best


class Breaker:
    """Break one paragraph's words into justified lines, greedily."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.lines: list[Line] = []
        self.current: list[Word] = []
        self.width = 0.0
        self.space = float(stringWidth(" ", ROMAN, setting.size))

    @property
    def indent(self) -> float:
        """Give the indent of the line being filled."""
        return 0.0 if self.lines else self.setting.indent

    def flush(self, last: bool = False) -> None:
        """Finish the line being filled."""
        self.lines.append(Line(tuple(self.current), self.setting, self.indent, last))
        self.current, self.width = [], 0.0

    def hyphens_running(self) -> bool:
        """Tell whether the lines just above end in too many hyphens already."""
        above = self.lines[-MAX_HYPHENS_RUNNING:]
        ends = [line.words[-1][-1].text.endswith("-") for line in above]
        return len(ends) == MAX_HYPHENS_RUNNING and all(ends)

    def add(self, word: Word, final: bool = False) -> None:
        """Set a word on this line, across two, or on the next."""
        gaps = len(self.current)
        full = MEASURE - 2 * self.setting.side - self.indent
        slack = full - self.width
        need = word_width(word, self.setting.size) + (self.space if gaps else 0.0)
        if not gaps or need <= slack + SHRINK * self.space * gaps:
            self.current.append(word)
            self.width += need
            return
        loose = slack > LOOSE * self.space * max(gaps - 1, 1)
        room = slack - self.space
        halves = break_word(word, self.setting.size, room)
        if halves and loose and not final and not self.hyphens_running():
            self.current.append(halves[0])
            word = halves[1]
        self.flush()
        self.add(word, final)


def break_lines(words: list[Word], setting: Setting) -> list[Line]:
    """Break a paragraph into lines."""
    breaker = Breaker(setting)
    for index, word in enumerate(words):
        breaker.add(word, final=index == len(words) - 1)
    breaker.flush(last=True)
    return breaker.lines


class Pager:
    """Fill pages with lines and carry each footnote to the page that calls it."""

    def __init__(self, book: Book) -> None:
        self.pages: list[Page] = []
        self.notes = {
            number: break_lines(split_words(f"[^{number}] {text}"), NOTE)
            for number, text in book.notes.items()
        }

    @property
    def page(self) -> Page:
        """Give the page being filled."""
        return self.pages[-1]

    def turn(self, chapter: Chapter, opening: bool = False) -> None:
        """Start a page."""
        self.pages.append(Page(chapter, opening))

    def count_fitting(self, lines: list[Line]) -> int:
        """Count how many of these lines, with their footnotes, the page still takes."""
        room, has_notes = self.page.room(), bool(self.page.notes)
        for count, line in enumerate(lines):
            room -= line.setting.leading
            for number in line.notes:
                room -= sum(note.setting.leading for note in self.notes[number])
                room -= 0.0 if has_notes else NOTE_GAP
                has_notes = True
            if room < 0:
                return count
        return len(lines)

    def place(self, lines: list[Line]) -> None:
        """Put lines on the page."""
        for line in lines:
            self.page.placed.append((self.page.used, line))
            self.page.used += line.setting.leading
            for number in line.notes:
                self.page.notes += self.notes[number]

    def add(self, lines: list[Line], chapter: Chapter) -> None:
        """Put a paragraph on this page and on as many more as it needs."""
        gap = lines[0].setting.gap
        self.page.used += gap if self.page.placed else 0.0
        start = 0
        while start < len(lines):
            left = len(lines) - start
            take = self.count_fitting(lines[start:])
            if take < left and self.page.placed:
                # No widow over the page, and no orphan at its foot.
                take -= 1 if left - take == 1 else 0
                take = 0 if start == 0 and take < 2 else take
            self.place(lines[start : start + take])
            start += take
            if start < len(lines):
                self.turn(chapter)
        self.page.used += gap


def paginate(book: Book) -> list[Page]:
    """Lay the chapters out on pages."""
    pager = Pager(book)
    for chapter in book.chapters:
        pager.turn(chapter, opening=True)
        for index, paragraph in enumerate(chapter.paragraphs):
            setting = QUOTE if paragraph.kind == "quote" else BODY if index else FIRST
            pager.add(break_lines(split_words(paragraph.text), setting), chapter)
    return pager.pages


def draw_line(canvas: Canvas, line: Line, left: float, y: float) -> None:
    """Draw one line, its spaces stretched to the measure unless it is the last."""
    setting, size = line.setting, line.setting.size
    gaps = len(line.words) - 1
    space = float(stringWidth(" ", ROMAN, size))
    natural = sum(word_width(word, size) for word in line.words) + gaps * space
    slack = MEASURE - 2 * setting.side - line.indent - natural
    text = canvas.beginText(left + setting.side + line.indent, y)
    text.setWordSpace(slack / gaps if gaps and (slack < 0 or not line.last) else 0.0)
    for index, word in enumerate(line.words):
        if index:
            text.setFont(ROMAN, size)
            text.textOut(" ")
        for piece in word:
            text.setFont(piece.font, size * (0.62 if piece.note else 1.0))
            text.setRise(size * 0.36 if piece.note else 0.0)
            text.textOut(piece.text)
        text.setRise(0.0)
    text.setWordSpace(0.0)
    canvas.drawText(text)


def draw_opening(canvas: Canvas, chapter: Chapter, folio: int) -> None:
    """Draw a chapter's number, title and foot folio, and bookmark it."""
    canvas.bookmarkPage(f"chapter-{chapter.number}")
    canvas.addOutlineEntry(f"{chapter.number}. {chapter.title}", f"chapter-{chapter.number}", 0)
    middle = text_left(folio) + MEASURE / 2
    canvas.setFont(ROMAN, 15)
    canvas.drawCentredString(middle, PAGE_HEIGHT - TOP - 26, str(chapter.number))
    canvas.setFont(ROMAN, 20)
    canvas.drawCentredString(middle, PAGE_HEIGHT - TOP - 58, chapter.title)
    canvas.setFont(ROMAN, 9.5)
    canvas.drawCentredString(middle, FOLIO_Y, str(folio))


def draw_head(canvas: Canvas, title: str, folio: int) -> None:
    """Draw the running head, with the folio at the outer edge."""
    left = text_left(folio)
    recto = folio % 2 == 1
    canvas.setFont(ROMAN, 9.5)
    if recto:
        canvas.drawRightString(left + MEASURE, HEAD_Y, str(folio))
    else:
        canvas.drawString(left, HEAD_Y, str(folio))
    canvas.setFont(ITALIC, 9.5)
    canvas.drawCentredString(left + MEASURE / 2, HEAD_Y, title)


def text_left(folio: int) -> float:
    """Give the left edge of the text: the inner margin is on the spine's side."""
    return INNER if folio % 2 == 1 else OUTER


def draw_page(canvas: Canvas, page: Page, folio: int, title: str) -> None:
    """Draw one page of text with its notes."""
    left = text_left(folio)
    if page.opening:
        draw_opening(canvas, page.chapter, folio)
    else:
        draw_head(canvas, page.chapter.title if folio % 2 == 1 else title, folio)
    top = PAGE_HEIGHT - TOP - (SINKAGE if page.opening else 0.0)
    for below, line in page.placed:
        draw_line(canvas, line, left, top - below - line.setting.size)
    height = sum(line.setting.leading for line in page.notes)
    if page.notes:
        canvas.setLineWidth(0.4)
        canvas.line(left, FOOT + height + 2, left + 60, FOOT + height + 2)
    for index, line in enumerate(page.notes):
        y = FOOT + height - (index + 1) * NOTE.leading + 2
        draw_line(canvas, line, left, y)
    canvas.showPage()


def draw_titles(canvas: Canvas, book: Book) -> None:
    """Draw the half title, a blank, the title page and the copyright page."""
    middle = INNER + MEASURE / 2
    canvas.setFont(ROMAN, 16)
    canvas.drawCentredString(middle, PAGE_HEIGHT - 190, book.title)
    canvas.showPage()
    canvas.showPage()
    for size, y, text in (
        (30, 170, book.title),
        (14, 200, "A Memoir"),
        (16, 290, book.author),
        (10.5, PAGE_HEIGHT - 80, PUBLISHER),
        (9.5, PAGE_HEIGHT - 66, PLACE),
    ):
        canvas.setFont(ITALIC if text == "A Memoir" else ROMAN, size)
        canvas.drawCentredString(middle, PAGE_HEIGHT - y, text)
    canvas.showPage()
    canvas.setFont(ROMAN, 8.5)
    for index, text in enumerate(COPYRIGHT):
        canvas.drawString(OUTER, 210 - index * 12, text)
    canvas.showPage()


def draw_contents(canvas: Canvas, pages: list[Page]) -> None:
    """Draw the table of contents with leaders and page numbers, and a blank after it."""
    canvas.bookmarkPage("contents")
    canvas.addOutlineEntry("Contents", "contents", 0)
    canvas.setFont(ROMAN, 18)
    canvas.drawCentredString(INNER + MEASURE / 2, PAGE_HEIGHT - TOP - 40, "Contents")
    openings = [(folio, page.chapter) for folio, page in enumerate(pages, 1) if page.opening]
    canvas.setFont(ROMAN, 10.5)
    for index, (folio, chapter) in enumerate(openings):
        y = PAGE_HEIGHT - TOP - 90 - index * 21
        canvas.drawRightString(INNER + 14, y, str(chapter.number))
        canvas.drawString(INNER + 24, y, chapter.title)
        start = INNER + 30 + stringWidth(chapter.title, ROMAN, 10.5)
        dots = int((INNER + MEASURE - 22 - start) // stringWidth(" .", ROMAN, 10.5))
        canvas.drawRightString(INNER + MEASURE - 20, y, " ." * dots)
        canvas.drawRightString(INNER + MEASURE, y, str(folio))
    canvas.showPage()
    canvas.showPage()


def typeset(book: Book, target: Path) -> int:
    """Write the PDF and return its number of pages."""
    # Invariant: no clock and no random id in the file, so that a rerun gives the same bytes.
    canvas = Canvas(str(target), pagesize=A5, invariant=1, pageCompression=1, lang="en-GB")
    canvas.setTitle(f"{book.title}: A Memoir")
    canvas.setAuthor(book.author)
    canvas.setSubject("An invented memoir, written for the Memoirist project")
    # The script's first address: another one would give the sample other bytes, and other ids.
    canvas.setCreator("tests.tools.typeset")
    pages = paginate(book)
    canvas.addPageLabel(0, style="ROMAN_LOWER", start=1)
    canvas.addPageLabel(FRONT_PAGES, style="ARABIC", start=1)
    draw_titles(canvas, book)
    draw_contents(canvas, pages)
    for folio, page in enumerate(pages, 1):
        draw_page(canvas, page, folio, book.title)
    canvas.showOutline()
    canvas.save()
    return FRONT_PAGES + len(pages)


def main() -> None:
    """Typeset the memoir beside its source, or into the folder given."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else SAMPLES
    folder.mkdir(parents=True, exist_ok=True)
    book = parse((SAMPLES / "memoir.md").read_text(encoding="utf-8"))
    count = typeset(book, folder / "memoir.pdf")
    (folder / "truth.txt").write_text(truth(book), encoding="utf-8")
    sys.stdout.write(f"memoir.pdf: {count} pages, {len(book.notes)} footnotes\n")


if __name__ == "__main__":
    main()
