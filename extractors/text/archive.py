"""Open the zip files of EPUB and DOCX safely: the number and size of entries are limited."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from memoirist.data.schema.errors import SourceUnreadable

# A book has some hundred files; its text packs four to thirty times smaller.
_MAX_ENTRIES = 20_000
_MAX_ENTRY_BYTES = 64 << 20
_MAX_TEXT_BYTES = 256 << 20
_MAX_RATIO = 250
_RATIO_COUNTS_FROM_BYTES = 1 << 20
# What zipfile raises for damaged, packed otherwise, or cut files.
FAULTS = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError, ValueError)
REPAIR = "get a complete copy of it; `unzip -t FILE` names the damaged part"


class EntryUnreadable(Exception):
    """One entry of an archive cannot be read; the message says why."""


class Archive:
    """The entries of a zip file by name; nothing is ever written to a path."""

    def __init__(self, file: zipfile.ZipFile) -> None:
        self._file = file
        self._entries = {entry.filename: entry for entry in file.infolist()}
        self._folded = {name.casefold(): name for name in self._entries}
        self._left_bytes = _MAX_TEXT_BYTES

    @property
    def names(self) -> list[str]:
        """The names of all entries, in the archive's order."""
        return list(self._entries)

    def find(self, name: str) -> str | None:
        """Return the entry's own spelling of `name`; some books differ in case alone."""
        return name if name in self._entries else self._folded.get(name.casefold())

    def read(self, name: str) -> bytes:
        """Return the bytes of an entry; raise EntryUnreadable where it is missing or too much."""
        entry = self._entries.get(self.find(name) or "")
        if entry is None:
            raise EntryUnreadable("it is missing")
        if entry.flag_bits & 1:
            raise EntryUnreadable("it is locked with a password")
        size, packed = entry.file_size, max(1, entry.compress_size)
        if size > min(_MAX_ENTRY_BYTES, self._left_bytes):
            raise EntryUnreadable(f"it unpacks to {size:,} bytes, more than the text of a book has")
        if size > _RATIO_COUNTS_FROM_BYTES and size > _MAX_RATIO * packed:
            raise EntryUnreadable(f"it is compressed {size // packed} to 1, as a zip bomb is")
        try:
            with self._file.open(entry) as stream:
                # zipfile itself stops at the size that the entry states.
                content = stream.read(size + 1)
        except (*FAULTS, RuntimeError) as fault:
            raise EntryUnreadable(str(fault) or type(fault).__name__) from fault
        self._left_bytes -= len(content)
        return content


@contextmanager
def open_archive(location: str, kind: str) -> Iterator[Archive]:
    """Yield the archive at `location`; raise SourceUnreadable for a damaged zip or a bomb."""
    try:
        file = zipfile.ZipFile(Path(location))
    except FileNotFoundError:
        raise
    except FAULTS as fault:
        raise SourceUnreadable(
            f"the {kind} {location!r} is not a complete zip file ({fault})", REPAIR
        ) from fault
    with file:
        if len(file.infolist()) > _MAX_ENTRIES:
            raise SourceUnreadable(
                f"the {kind} {location!r} contains {len(file.infolist()):,} files,"
                f" more than {_MAX_ENTRIES:,}",
                "give the book itself; this looks like a zip bomb",
            )
        yield Archive(file)


def unreadable_entry(location: str, kind: str, name: str, reason: str) -> SourceUnreadable:
    """Return the error for an entry without which there is no book."""
    return SourceUnreadable(f"{name!r} of the {kind} {location!r} cannot be read: {reason}", REPAIR)
