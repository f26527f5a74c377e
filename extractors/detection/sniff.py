"""Recognise what a file is by its content, for a name whose ending is missing or wrong."""

from __future__ import annotations

import codecs
import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from memoirist.extractors.detection.format_registry import (
    FORMATS,
    SUFFIXES,
    Format,
    format_named,
    load,
)

_HEAD_BYTES = 1 << 16
_UNPACK = "unpack it, and point at what is in it"
_TO_PDF = "make a PDF of the pages' pictures, and run it with --ocr"
_SAVE_DOCX = "open it in a word processor and save it as .docx"
_TO_EPUB = "convert it to EPUB, for example with calibre"
_TRANSCRIBE = "transcribe it, for example with Whisper, and point at the transcript"


@dataclass(frozen=True, slots=True)
class Content:
    """What a file's bytes clearly are, `description` in words.

    `formats` are the formats that read it whatever its ending is, in the order of trial; where
    there is none, `next_step` tells the user what to do. `suffixes` are the endings that fit it.
    """

    description: str
    formats: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()
    next_step: str = ""


_CAPTIONS = (".vtt", ".srt")
_PDF = Content("a PDF", ("pdf",), (".pdf",))
_EPUB = Content("an EPUB", ("epub",), (".epub",))
_DOCX = Content("a Word document", ("docx",), (".docx",))
_PAGE = Content("an HTML page", ("podcast-html", "html"), (".html", ".htm", ".xhtml"))
_VTT = Content("WebVTT captions", ("vtt",), _CAPTIONS)
_SRT = Content("SubRip captions", ("srt",), _CAPTIONS)
_TRANSCRIPTS = ("whisper", "podcast-json", "podlove", "conversation")
# The readers of tables choose by the ending.
_JSON = Content("JSON", _TRANSCRIPTS, (".json", ".jsonl", ".ndjson"), "let its name end in .json")
_JSON_LINES = Content("JSON lines", ("conversation", "dataset"), (".jsonl", ".ndjson", ".json"))
_TEXT = Content(
    "plain text",
    ("dialogue", "text"),
    next_step="let its name end in .txt, or in what its kind of text is called",
)
# Endings of binary files: a text file with one of them has a wrong name.
_BINARY = frozenset({"", ".pdf", ".epub", ".docx"})
_PLAIN = frozenset({"", ".txt", ".md", ".markdown", ".pdf", ".epub", ".docx", ".html", ".htm"})

# Signatures of text files: the first bytes, what the file is.
_TEXT_MAGIC = (
    (b"{\\rtf", Content("an RTF document", next_step=_SAVE_DOCX)),
    (b"%!PS-Adobe", Content("PostScript", next_step="convert it to PDF with ps2pdf")),
)
# The container of the old Office formats and of documents with a password.
OLE = bytes.fromhex("d0cf11e0a1b11ae1")
# Signatures of binary files: offset, bytes, what the file is.
_MAGIC = (
    (0, b"PAR1", Content("a Parquet table", suffixes=(".parquet",))),
    (0, b"ARROW1\x00\x00", Content("an Arrow table", suffixes=(".arrow", ".feather"))),
    (0, OLE, Content("an old Office document", (), (".docx",), _SAVE_DOCX)),
    (0, b"\x1f\x8b", Content("a gzip archive", next_step=_UNPACK)),
    (0, b"BZh", Content("a bzip2 archive", next_step=_UNPACK)),
    (0, b"\xfd7zXZ\x00", Content("an xz archive", next_step=_UNPACK)),
    (0, b"\x28\xb5\x2f\xfd", Content("a zstd archive", next_step=_UNPACK)),
    (0, b"7z\xbc\xaf\x27\x1c", Content("a 7z archive", next_step=_UNPACK)),
    (0, b"Rar!\x1a\x07", Content("a RAR archive", next_step=_UNPACK)),
    (0, b"\x89PNG\r\n\x1a\n", Content("a PNG picture", next_step=_TO_PDF)),
    (0, b"\xff\xd8\xff", Content("a JPEG picture", next_step=_TO_PDF)),
    (0, b"GIF8", Content("a GIF picture", next_step=_TO_PDF)),
    (0, b"II*\x00", Content("a TIFF picture", next_step=_TO_PDF)),
    (0, b"MM\x00*", Content("a TIFF picture", next_step=_TO_PDF)),
    (0, b"AT&TFORM", Content("a DjVu book", next_step="convert it to PDF with ddjvu")),
    (0, b"ID3", Content("an MP3 recording", next_step=_TRANSCRIBE)),
    (0, b"OggS", Content("an Ogg recording", next_step=_TRANSCRIBE)),
    (0, b"fLaC", Content("a FLAC recording", next_step=_TRANSCRIBE)),
    (0, b"\x1aE\xdf\xa3", Content("a Matroska or WebM recording", next_step=_TRANSCRIBE)),
    (0, b"SQLite format 3\x00", Content("an SQLite file", next_step="export its table as CSV")),
    (0, b"\x7fELF", Content("a program")),
    (4, b"ftyp", Content("an MP4 recording", next_step=_TRANSCRIBE)),
    (8, b"WAVE", Content("a WAV recording", next_step=_TRANSCRIBE)),
    (8, b"WEBP", Content("a WebP picture", next_step=_TO_PDF)),
    (60, b"BOOKMOBI", Content("a Kindle book (MOBI)", next_step=_TO_EPUB)),
)
_MARKUP = (
    (re.compile(rb"<!doctype\s+html|<html[\s>]", re.I), _PAGE),
    (re.compile(rb"<(?:rss|feed)[\s>]"), Content("a feed", next_step="give its address")),
    (re.compile(rb"<FictionBook[\s>]"), Content("an FB2 book", next_step=_TO_EPUB)),
)
_PROLOGUE = re.compile(rb"\s*(?:<\?xml[^>]{0,200}\?>\s*)?(?:<!--.{0,2000}?-->\s*){0,5}", re.S)
_ARROW = re.compile(rb"\d[ \t]*-->[ \t]*\d")
_CUE = re.compile(rb"\d+[ \t]*\r?\n\d{1,3}:\d\d:\d\d[,.]\d{1,3}[ \t]*-->[ \t]*\d")
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_PDF_PART = re.compile(rb"\bendobj\b|\bstartxref\b|%%EOF")
_WORDS = re.compile(r"[^\W\d_]{2,}")
_MIN_WORDS = 8
_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def content_of(path: Path) -> Content | None:
    """Return what a file clearly is; None where its content does not contradict its ending.

    Only a signature contradicts an ending, and text in a file with the ending of a binary format.
    """
    try:
        state = path.stat()
    except OSError:
        return None
    return _content_of(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=256)
def _content_of(path: Path, _mtime_ns: int, _size: int) -> Content | None:
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return None
    suffix = path.suffix.lower()
    content = next(_signatures(path, head), None)
    if content is None and suffix in _PLAIN:
        content = _json(head)
    if content is None and (suffix in _BINARY or suffix not in SUFFIXES) and _is_prose(head):
        # An unknown ending may stand for another kind of text: a program, a table.
        return _TEXT if suffix in _BINARY else Content(_TEXT.description, next_step=_TEXT.next_step)
    return content


def _signatures(path: Path, head: bytes) -> Iterator[Content]:
    """Yield what the signatures at the beginning of a file say, the most certain first."""
    text = head.removeprefix(codecs.BOM_UTF8).lstrip()
    if re.match(rb"%PDF-\d\.\d[ \t]*[\r\n%]", text):
        yield _PDF
    if head.startswith(b"PK\x03\x04") and (content := _zip_content(path)):
        yield content
    yield from (content for magic, content in _TEXT_MAGIC if head.startswith(magic))
    # "ID3" or "OggS" may also open a text, which has no control characters.
    for offset, magic, content in _MAGIC if _CONTROL.search(head) else ():
        if head.startswith(magic, offset):
            yield content
    if re.match(rb"WEBVTT(?:[ \t\r\n]|$)", text) and _ARROW.search(head):
        yield _VTT
    if _CUE.match(text):
        yield _SRT
    prologue = _PROLOGUE.match(text)
    rest = text[prologue.end() :] if prologue else text
    yield from (content for pattern, content in _MARKUP if pattern.match(rest))


def _zip_content(path: Path) -> Content | None:
    """Return what a zip file holds, None where it is damaged: then its ending says more."""
    try:
        with zipfile.ZipFile(path) as file:
            names = set(file.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return None
    if "word/document.xml" in names:
        return _DOCX
    # Before OpenDocument, because an EPUB also has a file "mimetype".
    if "META-INF/container.xml" in names:
        return _EPUB
    if "content.xml" in names and "mimetype" in names:
        return Content("an OpenDocument file", next_step=_SAVE_DOCX)
    if "xl/workbook.xml" in names:
        return Content("an Excel workbook", next_step="save its sheet as CSV")
    if "ppt/presentation.xml" in names:
        return Content("a PowerPoint file", next_step="save it as PDF")
    # The readers of EPUB and DOCX say which part is missing.
    return Content("a zip archive", (), (".epub", ".docx"), _UNPACK)


def _json(head: bytes) -> Content | None:
    """Return whether a text without a signature is JSON: an object, JSON lines, or a list."""
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")("strict").decode(head).lstrip()
    except UnicodeDecodeError:
        return None
    if not re.match(r"\{\s*\"|\[\s*\{\s*\"", text):
        return None
    first_line, _, rest = text.partition("\n")
    try:
        is_row = isinstance(json.loads(first_line), dict)
    except (ValueError, RecursionError):
        is_row = False
    if is_row and rest.lstrip().startswith("{"):
        return _JSON_LINES
    # A list may be longer than the head: its first object is enough.
    try:
        value, _ = json.JSONDecoder().raw_decode(text.lstrip("[ \t\r\n"))
    except (ValueError, RecursionError):
        return _JSON if len(head) == _HEAD_BYTES else None
    return _JSON if isinstance(value, dict) else None


def _is_prose(head: bytes) -> bool:
    """Tell whether bytes are text with words, and not a PDF without its first bytes."""
    if head.startswith(_WIDE):
        text = head.decode("utf-16", "replace")
    elif _CONTROL.search(head) or _PDF_PART.search(head):
        return False
    else:
        text = head.decode("utf-8", "replace")
    n_words = sum(1 for _ in _WORDS.finditer(text))
    return n_words >= _MIN_WORDS or len(re.findall(r"[\u3040-\u9fff]", text)) >= _MIN_WORDS


def format_of(path: Path) -> Format | None:
    """Return the format of a file: by its ending, unless its content is clearly another one.

    None where the ending is unknown and the content does not help, or where no extractor reads
    the content.
    """
    suffix = path.suffix.lower()
    candidates = [known for known in FORMATS if suffix in known.suffixes]
    content = content_of(path)
    if content is not None and suffix not in content.suffixes:
        candidates = [format_named(name) for name in content.formats]
    return next(
        (known for known in candidates if not known.recognise or load(known.recognise)(path)), None
    )
