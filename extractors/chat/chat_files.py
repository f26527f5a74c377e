"""Open what a messenger exports: one file, or a zip file in which media lie beside the chats."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from memoirist.data.schema.errors import SourceUnreadable
from memoirist.extractors.text.archive import FAULTS, REPAIR, Archive, EntryUnreadable
from memoirist.extractors.text.encoding import decode
from memoirist.extractors.transcript.formats.base import read_head

_MAX_BYTES = 512 << 20
_HEAD_BYTES = 1 << 20
_MAX_HEADS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatFile:
    """One file of an export, and its place: its name, within an archive with its folders."""

    name: str
    content: bytes

    @property
    def text(self) -> str:
        """The content as text, in the encoding that is certain or likely."""
        return decode(self.content).text

    @property
    def stem(self) -> str:
        """The name without folders and ending."""
        return PurePosixPath(self.name).stem


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """The chat files of an export, how many other files lie beside them, and what is broken."""

    files: Sequence[ChatFile]
    n_others: int = 0
    broken: Sequence[tuple[str, str]] = ()


def heads(path: Path, suffixes: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield name and beginning of a file, or of an archive's files that end in `suffixes`."""
    try:
        state = path.stat()
    except OSError:
        return
    yield from _heads(path, tuple(suffixes), state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=8)
def _heads(
    path: Path, suffixes: tuple[str, ...], _mtime_ns: int, _size: int
) -> tuple[tuple[str, str], ...]:
    if not is_zip(path):
        return ((path.name, read_head(path, _HEAD_BYTES)),)
    found: list[tuple[str, str]] = []
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in _chat_entries(archive, suffixes)[:_MAX_HEADS]:
                with archive.open(entry) as stream:
                    found.append((entry.filename, _head_text(stream.read(_HEAD_BYTES))))
    except (*FAULTS, RuntimeError):
        return tuple(found)
    return tuple(found)


def _head_text(content: bytes) -> str:
    # The last character may be cut in two, which is no damage.
    whole = content[: content.rfind(b"\n") + 1] if len(content) == _HEAD_BYTES else content
    return decode(whole or content).text


def is_zip(path: Path) -> bool:
    """Tell whether a file begins as a zip file does."""
    try:
        with path.open("rb") as file:
            return file.read(4) == b"PK\x03\x04"
    except OSError:
        return False


def _chat_entries(archive: zipfile.ZipFile, suffixes: Sequence[str]) -> list[zipfile.ZipInfo]:
    return [
        entry
        for entry in archive.infolist()
        if entry.filename.lower().endswith(tuple(suffixes))
        and not PurePosixPath(entry.filename).name.startswith(".")
        and not entry.filename.startswith("__MACOSX/")
    ]


def open_export(path: Path, suffixes: Sequence[str]) -> Export:
    """Return the files of an export that may be chats; raise SourceUnreadable if too large."""
    if not is_zip(path):
        if path.stat().st_size > _MAX_BYTES:
            raise SourceUnreadable(
                f"the chat {str(path)!r} has more than {_MAX_BYTES >> 20} MB",
                "export single chats or a shorter period, without media",
            )
        return Export(files=[ChatFile(name=path.name, content=path.read_bytes())])
    files: list[ChatFile] = []
    broken: list[tuple[str, str]] = []
    try:
        with zipfile.ZipFile(path) as archive:
            names = [entry.filename for entry in _chat_entries(archive, suffixes)]
            n_files = sum(not entry.is_dir() for entry in archive.infolist())
            reader = Archive(archive)
            for name in names:
                try:
                    files.append(ChatFile(name=name, content=reader.read(name)))
                except EntryUnreadable as fault:
                    broken.append((name, str(fault)))
    except FAULTS as fault:
        raise SourceUnreadable(
            f"the export {str(path)!r} is not a complete zip file ({fault})", REPAIR
        ) from fault
    return Export(files=files, n_others=n_files - len(names), broken=broken)
