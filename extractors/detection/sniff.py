"""Recognise what a file is by its content, for a name whose ending is missing or wrong."""

from __future__ import annotations

import codecs
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from memoirist.extractors.detection.format_registry import (
    FORMATS,
    SUFFIXES,
    Format,
    format_named,
    load,
)
from memoirist.extractors.word_tables import table

_HEAD_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Content:
    """What a file's bytes clearly are, `description` in words.

    `formats` are the formats that read it whatever its ending is, in the order of trial; where
    there is none, `next_step` tells the user what to do. `suffixes` are the endings that fit it.
    `packing` is how an archive is packed that can be unpacked.
    """

    description: str
    formats: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()
    next_step: str = ""
    packing: str = ""


def _content(row: Mapping[str, Any]) -> Content:
    step = row.get("next_step", "")
    step = _TABLE["next_steps"].get(step, step)
    formats, suffixes = (tuple(row.get(key, ())) for key in ("formats", "suffixes"))
    return Content(row["is"], formats, suffixes, step, row.get("packing", ""))


_TABLE = table("signatures")
_KINDS = {name: _content(row) for name, row in _TABLE["kinds"].items()}
# Endings of binary files: a text file with one of them has a wrong name.
_BINARY = frozenset({"", ".pdf", ".epub", ".docx"})
_PLAIN = frozenset({"", ".txt", ".md", ".markdown", ".pdf", ".epub", ".docx", ".html", ".htm"})

_TEXT_MAGIC, _MAGIC = (
    [(row.get("at", 0), row["start"].encode("latin-1"), _content(row)) for row in rows]
    for rows in (_TABLE["first_bytes"]["text"], _TABLE["first_bytes"]["binary"])
)
_CHAT_PAGES = [
    ([mark.encode() for mark in row["holds"]], _content(row)) for row in _TABLE["chat_pages"]
]
_CHAT_TEXTS = [(re.compile(row["begins"].encode()), _content(row)) for row in _TABLE["chat_texts"]]
_MARKUP = (
    (re.compile(rb"<!doctype\s+html|<html[\s>]", re.I), "page"),
    (re.compile(rb"<(?:rss|feed)[\s>]"), "feed"),
    (re.compile(rb"<FictionBook[\s>]"), "fb2"),
)
_PROLOGUE = re.compile(rb"\s*(?:<\?xml[^>]{0,200}\?>\s*)?(?:<!--.{0,2000}?-->\s*){0,5}", re.S)
_ARROW = re.compile(rb"\d[ \t]*-->[ \t]*\d")
_CUE = re.compile(rb"\d+[ \t]*\r?\n\d{1,3}:\d\d:\d\d[,.]\d{1,3}[ \t]*-->[ \t]*\d")
_HEADERS = rb"(?:[A-Za-z][\w-]*:[ \t][^\n]*\n(?:[ \t][^\n]*\n)*)"
_MAILBOX = re.compile(rb"From \S[^\n]{0,300}\d{4}[^\n]{0,20}\n" + _HEADERS + rb"{2}")
_MAIL = re.compile(_HEADERS + rb"{4}")
_MAIL_SENDER = re.compile(
    rb"^(?:Received|Message-ID|MIME-Version|DKIM-Signature):[ \t]", re.M | re.I
)
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
        text = _KINDS["text"]
        return text if suffix in _BINARY else replace(text, formats=())
    return content


def _signatures(path: Path, head: bytes) -> Iterator[Content]:
    """Yield what the signatures at the beginning of a file say, the most certain first."""
    text = head.removeprefix(codecs.BOM_UTF8).lstrip()
    if re.match(rb"%PDF-\d\.\d[ \t]*[\r\n%]", text):
        yield _KINDS["pdf"]
    if head.startswith(b"PK\x03\x04"):
        if content := _zip_content(path):
            yield content
        elif path.suffix.lower() == ".zip":
            yield _KINDS["torn_zip"]
    yield from (content for _, magic, content in _TEXT_MAGIC if head.startswith(magic))
    # "ID3" or "OggS" may also open a text, which has no control characters.
    for offset, magic, content in _MAGIC if _CONTROL.search(head) else ():
        if head.startswith(magic, offset):
            yield content
    if re.match(rb"WEBVTT(?:[ \t\r\n]|$)", text) and _ARROW.search(head):
        yield _KINDS["vtt"]
    if _CUE.match(text):
        yield _KINDS["srt"]
    if _MAILBOX.match(head) or (_MAIL.match(head) and _MAIL_SENDER.search(head)):
        yield _KINDS["mail"]
    yield from (content for marks, content in _CHAT_PAGES if all(mark in head for mark in marks))
    yield from (content for pattern, content in _CHAT_TEXTS if pattern.match(text))
    prologue = _PROLOGUE.match(text)
    rest = text[prologue.end() :] if prologue else text
    yield from (_KINDS[kind] for pattern, kind in _MARKUP if pattern.match(rest))


def _zip_content(path: Path) -> Content | None:
    """Return what a zip file holds, None where it is damaged: then its ending says more."""
    try:
        with zipfile.ZipFile(path) as file:
            names = set(file.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return None
    rows = _TABLE["zip"]["files"]
    return next(_content(row) for row in rows if names.issuperset(row["holds"]))


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
        return _KINDS["json_lines"]
    # A list may be longer than the head: its first object is enough.
    try:
        value, _ = json.JSONDecoder().raw_decode(text.lstrip("[ \t\r\n"))
    except (ValueError, RecursionError):
        return _KINDS["json"] if len(head) == _HEAD_BYTES else None
    return _KINDS["json"] if isinstance(value, dict) else None


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
