"""Find the sources that the user points at, and say what each of them is."""

from __future__ import annotations

import glob
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import cast

from memoirist.data.schema.errors import SourceMissing, SourceUnreadable
from memoirist.data.schema.records import Source, content_id
from memoirist.extractors.detection.format_registry import (
    FORMATS,
    SUFFIXES,
    by_name,
    format_of,
    load,
)
from memoirist.extractors.detection.sniff import content_of

_WILD = re.compile(r"[*?\[]")
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
_SHARED_NAME = re.compile(r"^(transcript|captions?|subtitles?|episode|book|index|main)\b", re.I)
_NOTE_SUFFIXES = {".md", ".markdown", ".txt", ".html", ".htm"}
_ABOUT = re.compile(
    r"^(?:readme|licen[cs]es?|copying|copyright|notice|change-?log|changes|contributing|contributors"
    r"|authors|code[-_ ]of[-_ ]conduct|security|todo|manifest)"
    r"(?:[._](?:md|txt|html?|[a-z]{2}|[a-z]{2}[-_][a-z]{2}))?$",
    re.IGNORECASE,
)
_STORE = "memoirist.duckdb"
_CHUNK_BYTES = 1 << 20
_HUB = "hf://"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One file or hub dataset that an extractor reads, and its format."""

    path: Path
    format: str
    pointer: str | None = None

    @property
    def location(self) -> str:
        """Return where it lies, as its source says it."""
        return self.pointer or printable(self.path.expanduser().resolve())


def discover(pointers: Sequence[str]) -> list[Found]:
    """Return the readable files behind files, folders and globs, each once.

    Raise SourceMissing where nothing lies, SourceUnreadable for a folder without a readable file
    and for a file of an unknown format.
    """
    found: dict[str, Found] = {}
    for pointer in pointers:
        for each in _behind(pointer):
            found.setdefault(each.pointer or str(each.path.resolve()), each)
    return list(found.values())


def is_url(pointer: str) -> bool:
    """Tell whether a pointer is an address of the web, that is a feed."""
    return pointer.lower().startswith(("http://", "https://"))


def _behind(pointer: str) -> list[Found]:
    if pointer.startswith(_HUB):
        load("memoirist.extractors.dataset.hub_dataset:parse")(pointer)
        return [Found(path=Path(pointer), format="dataset", pointer=pointer)]
    if is_url(pointer):
        return []  # a feed: its transcripts are found when it is looked at
    if scheme := _SCHEME.match(pointer):
        raise SourceUnreadable(
            f"{pointer!r} cannot be read: nothing here speaks {scheme[1].lower()}://",
            "name the file itself, downloaded where it lies elsewhere; https:// names a podcast's"
            " feed, hf:// a hub dataset",
        )
    if not pointer.strip():
        raise SourceMissing("an empty name is no source", "name a file, a folder or a pattern")
    path = _at_home(pointer)
    if path.is_dir():
        return _in_folder(path)
    if path.exists():
        return [known(path)]
    if _WILD.search(pointer):
        # Path.glob takes no absolute pattern.
        names = glob.glob(str(path), recursive=True)  # noqa: PTH207
        matches = [Path(name) for name in sorted(names)]
        ending = path.suffix and not _WILD.search(path.suffix)
        files = [each for each in matches if each.is_file() and not _in_workspace(each)]
        found = [_promised(each) for each in files if ending or each.suffix.lower() in SUFFIXES]
        if found:
            return found
        if matches:
            raise SourceUnreadable(f"{pointer!r} matches no readable source", _looked_for())
    raise SourceMissing(
        f"there is no file, folder or match for {pointer!r}",
        "check the spelling, and quote a pattern so that the shell leaves it alone",
    )


def _in_folder(folder: Path) -> list[Found]:
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not any(p.startswith(".") for p in path.relative_to(folder).parts)
    )
    files = [path for path in files if path.suffix.lower() in SUFFIXES and not _in_workspace(path)]
    found = [_promised(path) for path in files if not _about_files(path)]
    if not found:
        raise SourceUnreadable(
            f"the folder {str(folder)!r} holds no readable source", _looked_for()
        )
    return found


def _about_files(path: Path) -> bool:
    """Tell whether a file speaks of the files beside it rather than being one of them."""
    return path.suffix.lower() in _NOTE_SUFFIXES and bool(_ABOUT.match(path.stem))


def left_out(pointers: Sequence[str]) -> list[Path]:
    """Return the files in folders that are not taken: README.md and its like, other formats."""
    folders = [folder for pointer in pointers if (folder := _at_home(pointer)).is_dir()]
    return [
        path
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if _is_left_out(path, folder) and not _in_workspace(path)
    ]


def _is_left_out(path: Path, folder: Path) -> bool:
    if path.is_dir() or any(part.startswith(".") for part in path.relative_to(folder).parts):
        return False
    return not path.is_file() or _about_files(path) or path.suffix.lower() not in SUFFIXES


def _at_home(pointer: str) -> Path:
    try:
        return Path(pointer).expanduser()
    except RuntimeError:  # "~nobody" names no user: then it is a file's name
        return Path(pointer)


def _in_workspace(path: Path) -> bool:
    """Tell whether a file was made by a build: its own rows must never become its sources."""
    return any((folder / _STORE).exists() for folder in path.parents)


def known(path: Path) -> Found:
    """Return a file with its format; raise SourceUnreadable for an unknown one."""
    found = format_of(path)
    if found is None:
        raise _unknown(path)
    return Found(path=path, format=found.name)


def _promised(path: Path) -> Found:
    """Return a file as its content says, else as its ending: then reading it says what is wrong."""
    promised = [each for each in FORMATS if path.suffix.lower() in each.suffixes]
    if not promised:
        return known(path)
    return Found(path=path, format=(format_of(path) or promised[-1]).name)


def _unknown(path: Path) -> SourceUnreadable:
    content = content_of(path, SUFFIXES)
    if content is None:
        return SourceUnreadable(f"no extractor reads the format of {str(path)!r}", _looked_for())
    step = f"let its name end in {content.suffixes[0]}" if content.suffixes else _looked_for()
    return SourceUnreadable(
        f"no extractor reads {str(path)!r}: by its content it is {content.told}",
        content.next_step or step,
    )


def _looked_for() -> str:
    return f"give one of these formats: {', '.join(SUFFIXES)}"


def read_source(found: Found, added_at: datetime) -> Source:
    """Return the source of one file; raise SourceMissing or, where it is empty, unreadable.

    A hub dataset's source is what its pointer means there today.
    """
    if found.pointer is not None:
        return cast(
            "Source",
            load("memoirist.extractors.dataset.hub_dataset:hub_source")(found.pointer, added_at),
        )
    path = found.path.expanduser().resolve()
    if printable(path) != str(path):
        raise SourceUnreadable(
            f"the file name {printable(path)!r} is not UTF-8", "rename the file and run it again"
        )
    try:
        sha256 = _sha256(path)
        empty = path.stat().st_size == 0
    except FileNotFoundError as fault:
        raise missing(str(path)) from fault
    except OSError as fault:
        raise SourceUnreadable(
            f"the file {str(path)!r} cannot be opened ({fault.strerror})", "check its permissions"
        ) from fault
    if empty:
        raise SourceUnreadable(f"the file {str(path)!r} is empty", "point at the whole file")
    if format_of(path) is None:
        raise _unknown(path)
    known = by_name(found.format)
    title, author = load(known.names)(path) if known.names else (None, None)
    return Source(
        id=content_id(sha256),
        kind=known.kind,
        format=found.format,
        location=str(path),
        sha256=sha256,
        added_at=added_at,
        title=title or _readable(path),
        author=author,
    )


def missing(location: str) -> SourceMissing:
    """Return the error for a source that is gone."""
    return SourceMissing(
        f"the file {location!r} is not there", "put it back, or point at its new place"
    )


def printable(path: Path) -> str:
    """Return a path as text that can be stored: bytes that are not UTF-8 as their escapes."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _readable(path: Path) -> str:
    """Return a file's name as a title; one that many folders share takes its folder's name."""
    stem = f"{path.parent.name} {path.stem}" if _SHARED_NAME.match(path.stem) else path.stem
    words = re.sub(r"[_\s]+|(?<=\w)-(?=\w)", " ", stem).strip()
    return words[:1].upper() + words[1:] if words else path.stem
