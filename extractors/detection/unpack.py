"""Unpack archives into the workspace: each file in one is a source of its own.

The number, size and packing of the files are limited, and none is written outside its folder.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path, PurePosixPath
from typing import IO, Any

from memoirist.data.schema.errors import SourceEncrypted, SourceUnreadable
from memoirist.extractors.detection.sniff import content_of, format_of

_MAX_FILES = 20_000
_MAX_RATIO = 250
_RATIO_COUNTS_FROM_BYTES = 64 << 20
_MAX_BYTES = 64 << 30
# What stays free on the disk.
_SPARE_BYTES = 1 << 30
_BLOCK_BYTES = 1 << 20
_MARK = "unpacked-from"
_FAULTS = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, tarfile.TarError, zlib.error, lzma.LZMAError),
    *(EOFError, NotImplementedError, OSError, ValueError, RuntimeError),
)
SUFFIXES = (".zip", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".zstd", ".tar")
_Member = tuple[str, Callable[[], AbstractContextManager[IO[bytes]]]]


def is_archive(path: Path) -> bool:
    """Tell whether a file is an archive of other files, and no book that is packed as one."""
    content = content_of(path)
    return content is not None and bool(content.packing) and format_of(path) is None


def archive_of(location: str) -> str | None:
    """Return the name of the archive that an unpacked file comes from, None for any other file."""
    homes = (folder for folder in Path(location).parents if (folder / _MARK).exists())
    home = next(homes, None)
    return None if home is None else Path(location).relative_to(home).parts[0]


def unpack(path: Path, folder: Path) -> Path:
    """Return the folder in `folder` with an archive's files, which are unpacked if it is new.

    Raise SourceUnreadable for a damaged archive and for one that grows beyond all measure,
    SourceEncrypted for a locked one.
    """
    path = path.expanduser().resolve()
    home = folder / hashlib.sha256(str(path).encode("utf-8", "replace")).hexdigest()[:8]
    target, mark = home / path.name, home / _MARK
    state = f"{path.stat().st_size} {path.stat().st_mtime_ns}"
    if mark.exists() and mark.read_text("utf-8") == state:
        return target
    shutil.rmtree(home, ignore_errors=True)
    target.mkdir(parents=True)
    try:
        _unpack_into(path, target)
    except BaseException as fault:
        shutil.rmtree(home, ignore_errors=True)
        if isinstance(fault, _FAULTS):
            reason = str(fault) or type(fault).__name__
            raise SourceUnreadable(
                f"the archive {str(path)!r} cannot be unpacked ({reason})",
                "get a complete copy of it, or unpack it and give its files",
            ) from fault
        raise
    mark.write_text(state, "utf-8")
    return target


def _unpack_into(path: Path, target: Path) -> None:
    left_bytes = min(_MAX_BYTES, shutil.disk_usage(target).free - _SPARE_BYTES)
    # What a whole archive may grow to; its files may be packed together.
    limit = max(_RATIO_COUNTS_FROM_BYTES, _MAX_RATIO * path.stat().st_size)
    content = content_of(path)
    for count, (name, opened) in enumerate(_members(path, content.packing if content else "")):
        if count >= _MAX_FILES:
            raise _too_much(path, f"contains more than {_MAX_FILES:,} files")
        file = _place(target, name)
        with opened() as packed, file.open("wb") as plain:
            while block := packed.read(_BLOCK_BYTES):
                left_bytes, limit = left_bytes - len(block), limit - len(block)
                if limit < 0:
                    raise _too_much(
                        path, f"is compressed more than {_MAX_RATIO} to 1, as a zip bomb is"
                    )
                if left_bytes < 0:
                    raise _too_much(path, "is larger than the free disk space")
                plain.write(block)


def _too_much(path: Path, reason: str) -> SourceUnreadable:
    step = "unpack it yourself and give the files that you want"
    return SourceUnreadable(f"the archive {str(path)!r} {reason}", step)


def _place(target: Path, name: str) -> Path:
    """Return where a file is written: its own path without what leads outside, and free."""
    parts = [part for part in PurePosixPath(name.replace("\\", "/")).parts if part.strip("./ ")]
    parts = [part.replace(":", "_").replace("\0", "_")[:120] for part in parts] or ["file"]
    file = target.joinpath(*parts)
    file.parent.mkdir(parents=True, exist_ok=True)
    number = 1
    while file.exists():
        number += 1
        file = file.with_name(f"{Path(parts[-1]).stem}-{number}{Path(parts[-1]).suffix}")
    return file


def _members(path: Path, packing: str) -> Iterator[_Member]:
    if packing == "zip":
        yield from _zip_members(path)
    elif packing == "tar":
        yield from _tar_members(path)
    else:
        suffix = path.suffix.lower()
        name = path.name if suffix not in SUFFIXES else path.stem
        yield name + (".tar" if suffix == ".tgz" else ""), lambda: _plain(path, packing)


def _zip_members(path: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.is_dir() or stat.S_ISLNK(entry.external_attr >> 16):
                continue
            if entry.flag_bits & 1:
                raise SourceEncrypted(
                    f"the archive {str(path)!r} is locked with a password",
                    "unpack it with its password and give its files",
                )
            yield entry.filename, lambda entry=entry: archive.open(entry)  # type: ignore[misc]


def _tar_members(path: Path) -> Iterator[_Member]:
    with tarfile.open(path) as archive:
        for entry in archive:
            if entry.isfile():
                yield entry.name, lambda entry=entry: archive.extractfile(entry)  # type: ignore[misc]


def _plain(path: Path, packing: str) -> AbstractContextManager[IO[bytes]]:
    """Return the one file that a compressed file holds, still to be read."""
    if packing == "zstd":
        import pyarrow as pa

        stream: Any = pa.CompressedInputStream(pa.OSFile(str(path)), "zstd")
        return closing(stream)
    opened: dict[str, Any] = {"gzip": gzip.open, "bzip2": bz2.open, "xz": lzma.open}
    file: IO[bytes] = opened[packing](path, "rb")
    return file
