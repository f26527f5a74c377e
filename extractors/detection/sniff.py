"""Tell what a file is by its content, for endings that are missing or say something else."""

from __future__ import annotations

import codecs
import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_HEAD_BYTES = 1 << 16
_UNPACK = "unpack it, and point at what is in it"
_TO_PDF = "make a PDF of the pages' pictures, and run it with --ocr"
_SAVE_DOCX = "open it in a word processor and save it as .docx"
_TO_EPUB = "convert it to EPUB, for example with calibre"
_TRANSCRIBE = "transcribe it, for example with Whisper, and point at the transcript"


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a file's bytes plainly are.

    `formats` are those that read it whatever its ending is, the first that claims it first;
    where there is none, `next_step` helps. `suffixes` are the endings that promise it.
    """

    told: str
    formats: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()
    next_step: str = ""


_CAPTIONS = (".vtt", ".srt")
_PDF = Content(told="a PDF", formats=("pdf",), suffixes=(".pdf",))
_EPUB = Content(told="an EPUB", formats=("epub",), suffixes=(".epub",))
_DOCX = Content(told="a Word document", formats=("docx",), suffixes=(".docx",))
_PAGE = Content(
    told="an HTML page", formats=("podcast-html", "html"), suffixes=(".html", ".htm", ".xhtml")
)
_VTT = Content(told="WebVTT captions", formats=("vtt",), suffixes=_CAPTIONS)
_SRT = Content(told="SubRip captions", formats=("srt",), suffixes=_CAPTIONS)
_TALK_JSON = ("whisper", "podcast-json", "podlove", "conversation")
# The readers of tables go by the ending.
_JSON = Content(
    told="JSON",
    formats=_TALK_JSON,
    suffixes=(".json", ".jsonl", ".ndjson"),
    next_step="let its name end in .json",
)
_JSON_LINES = Content(
    told="JSON lines",
    formats=("conversation", "dataset"),
    suffixes=(".jsonl", ".ndjson", ".json"),
)
_TEXT = Content(
    told="plain text",
    formats=("dialogue", "text"),
    next_step="let its name end in .txt, or in what its kind of text is called",
)
# Endings of files that are no text: one that holds text anyway is named wrongly.
_NO_TEXT = frozenset({"", ".pdf", ".epub", ".docx"})
_PLAIN = frozenset({"", ".txt", ".md", ".markdown", ".pdf", ".epub", ".docx", ".html", ".htm"})

# Signatures of text: what it begins with, what it is.
_WRITTEN = (
    (b"{\\rtf", Content(told="an RTF document", next_step=_SAVE_DOCX)),
    (b"%!PS-Adobe", Content(told="PostScript", next_step="convert it to PDF with ps2pdf")),
)
# Signatures of what is no text: where they stand, the bytes, what it is.
_MAGIC = (
    (0, b"PAR1", Content(told="a Parquet table", suffixes=(".parquet",))),
    (0, b"ARROW1\x00\x00", Content(told="an Arrow table", suffixes=(".arrow", ".feather"))),
    (
        0,
        bytes.fromhex("d0cf11e0a1b11ae1"),
        Content(told="an old Office document", suffixes=(".docx",), next_step=_SAVE_DOCX),
    ),
    (0, b"\x1f\x8b", Content(told="a gzip archive", next_step=_UNPACK)),
    (0, b"BZh", Content(told="a bzip2 archive", next_step=_UNPACK)),
    (0, b"\xfd7zXZ\x00", Content(told="an xz archive", next_step=_UNPACK)),
    (0, b"\x28\xb5\x2f\xfd", Content(told="a zstd archive", next_step=_UNPACK)),
    (0, b"7z\xbc\xaf\x27\x1c", Content(told="a 7z archive", next_step=_UNPACK)),
    (0, b"Rar!\x1a\x07", Content(told="a RAR archive", next_step=_UNPACK)),
    (0, b"\x89PNG\r\n\x1a\n", Content(told="a PNG picture", next_step=_TO_PDF)),
    (0, b"\xff\xd8\xff", Content(told="a JPEG picture", next_step=_TO_PDF)),
    (0, b"GIF8", Content(told="a GIF picture", next_step=_TO_PDF)),
    (0, b"II*\x00", Content(told="a TIFF picture", next_step=_TO_PDF)),
    (0, b"MM\x00*", Content(told="a TIFF picture", next_step=_TO_PDF)),
    (0, b"AT&TFORM", Content(told="a DjVu book", next_step="convert it to PDF with ddjvu")),
    (0, b"ID3", Content(told="an MP3 recording", next_step=_TRANSCRIBE)),
    (0, b"OggS", Content(told="an Ogg recording", next_step=_TRANSCRIBE)),
    (0, b"fLaC", Content(told="a FLAC recording", next_step=_TRANSCRIBE)),
    (0, b"\x1aE\xdf\xa3", Content(told="a Matroska or WebM recording", next_step=_TRANSCRIBE)),
    (
        0,
        b"SQLite format 3\x00",
        Content(told="an SQLite file", next_step="export its table as CSV"),
    ),
    (0, b"\x7fELF", Content(told="a program")),
    (4, b"ftyp", Content(told="an MP4 recording", next_step=_TRANSCRIBE)),
    (8, b"WAVE", Content(told="a WAV recording", next_step=_TRANSCRIBE)),
    (8, b"WEBP", Content(told="a WebP picture", next_step=_TO_PDF)),
    (60, b"BOOKMOBI", Content(told="a Kindle book (MOBI)", next_step=_TO_EPUB)),
)
_MARKUP = (
    (re.compile(rb"<!doctype\s+html|<html[\s>]", re.I), _PAGE),
    (re.compile(rb"<(?:rss|feed)[\s>]"), Content(told="a feed", next_step="give its address")),
    (re.compile(rb"<FictionBook[\s>]"), Content(told="an FB2 book", next_step=_TO_EPUB)),
)
_PROLOGUE = re.compile(rb"\s*(?:<\?xml[^>]{0,200}\?>\s*)?(?:<!--.{0,2000}?-->\s*){0,5}", re.S)
_ARROW = re.compile(rb"\d[ \t]*-->[ \t]*\d")
_CUE = re.compile(rb"\d+[ \t]*\r?\n\d{1,3}:\d\d:\d\d[,.]\d{1,3}[ \t]*-->[ \t]*\d")
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_OF_A_PDF = re.compile(rb"\bendobj\b|\bstartxref\b|%%EOF")
_WORDS = re.compile(r"[^\W\d_]{2,}")
_MIN_WORDS = 8
_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def content_of(path: Path, known: tuple[str, ...]) -> Content | None:
    """Return what a file plainly is; None where its bytes are no contradiction to its ending.

    Only a signature counts against an ending, and text in a file that is named as none; `known`
    are the endings of the formats that are read.
    """
    try:
        state = path.stat()
    except OSError:
        return None
    return _content_of(path, known, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=256)
def _content_of(path: Path, known: tuple[str, ...], _mtime_ns: int, _size: int) -> Content | None:
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return None
    suffix = path.suffix.lower()
    found = next(_signs(path, head), None)
    if found is None and suffix in _PLAIN:
        found = _json(head)
    if found is None and (suffix in _NO_TEXT or suffix not in known) and _is_prose(head):
        # An unknown ending may mean another kind of text: a program, a table.
        return _TEXT if suffix in _NO_TEXT else Content(told=_TEXT.told, next_step=_TEXT.next_step)
    return found


def _signs(path: Path, head: bytes) -> Iterator[Content]:
    """Give what the signatures at the beginning of a file say, the surest first."""
    bare = head.removeprefix(codecs.BOM_UTF8).lstrip()
    if re.match(rb"%PDF-\d\.\d[ \t]*[\r\n%]", bare):
        yield _PDF
    if head.startswith(b"PK\x03\x04") and (packed := _packed(path)):
        yield packed
    yield from (content for sign, content in _WRITTEN if head.startswith(sign))
    # "ID3" or "OggS" may open a text as well, which has no control characters.
    for at, sign, content in _MAGIC if _CONTROL.search(head) else ():
        if head[at : at + len(sign)] == sign:
            yield content
    if re.match(rb"WEBVTT(?:[ \t\r\n]|$)", bare) and _ARROW.search(head):
        yield _VTT
    if _CUE.match(bare):
        yield _SRT
    start = _PROLOGUE.match(bare)
    rest = bare[start.end() :] if start else bare
    yield from (content for sign, content in _MARKUP if sign.match(rest))


def _packed(path: Path) -> Content | None:
    """Return what a zip file holds, None where it is damaged: then its ending says more."""
    try:
        with zipfile.ZipFile(path) as file:
            names = set(file.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return None
    if "word/document.xml" in names:
        return _DOCX
    # Before what a word processor's zip has: an EPUB that states its type is one.
    if "META-INF/container.xml" in names:
        return _EPUB
    if "content.xml" in names and "mimetype" in names:
        return Content(told="an OpenDocument file", next_step=_SAVE_DOCX)
    if "xl/workbook.xml" in names:
        return Content(told="an Excel workbook", next_step="save its sheet as CSV")
    if "ppt/presentation.xml" in names:
        return Content(told="a PowerPoint file", next_step="save it as PDF")
    promised = (".epub", ".docx")  # whose readers say what is missing in them
    return Content(told="a zip archive", suffixes=promised, next_step=_UNPACK)


def _json(head: bytes) -> Content | None:
    """Return whether a text without another sign is a JSON object, some of them, or a list."""
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")("strict").decode(head).lstrip()
    except UnicodeDecodeError:
        return None
    if not re.match(r"\{\s*\"|\[\s*\{\s*\"", text):
        return None
    first, _, rest = text.partition("\n")
    try:
        one = isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        one = False
    if one and rest.lstrip().startswith("{"):
        return _JSON_LINES
    # A list of objects as a whole may be longer than the head: its first one says enough.
    try:
        value, _ = json.JSONDecoder().raw_decode(text.lstrip("[ \t\r\n"))
    except (ValueError, RecursionError):
        return _JSON if len(head) == _HEAD_BYTES else None
    return _JSON if isinstance(value, dict) else None


def _is_prose(head: bytes) -> bool:
    """Tell whether bytes are text with words in it, and no PDF that has lost its beginning."""
    if head.startswith(_WIDE):
        text = head.decode("utf-16", "replace")
    elif _CONTROL.search(head) or _OF_A_PDF.search(head):
        return False
    else:
        text = head.decode("utf-8", "replace")
    words = sum(1 for _ in _WORDS.finditer(text))
    return words >= _MIN_WORDS or len(re.findall(r"[\u3040-\u9fff]", text)) >= _MIN_WORDS
