"""Find the files and hub datasets that the user points at."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from memoirist.data.schema.errors import SourceError, SourceMissing, SourceUnreadable
from memoirist.extractors.detection.format_registry import FORMATS, SUFFIXES, load
from memoirist.extractors.detection.sniff import content_of, format_of
from memoirist.extractors.detection.unpack import SUFFIXES as PACKED_SUFFIXES
from memoirist.extractors.detection.unpack import is_archive, unpack

_WILDCARD = re.compile(r"[*?\[]")
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
_NOTE_SUFFIXES = {".md", ".markdown", ".txt", ".html", ".htm"}
_ABOUT_FILES = re.compile(
    r"^(?:readme|licen[cs]es?|copying|copyright|notice|change-?log|changes|contributing|contributors"
    r"|authors|code[-_ ]of[-_ ]conduct|security|todo|manifest)"
    r"(?:[._](?:md|txt|html?|[a-z]{2}|[a-z]{2}[-_][a-z]{2}))?$",
    re.IGNORECASE,
)
# Archives within archives, such as a .tar in a .gz.
_MOST_ARCHIVES_DEEP = 3
_STORE = "memoirist.duckdb"
_HUB = "hf://"
_KNOWN_FORMATS = f"give one of these formats: {', '.join(SUFFIXES)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRef:
    """One file or hub dataset that an extractor reads, and its format."""

    path: Path
    format: str
    pointer: str | None = None

    @property
    def location(self) -> str:
        """Return its place as the source's row states it."""
        return self.pointer or printable(self.path.expanduser().resolve())


def discover(pointers: Sequence[str], unpack_into: Path | None = None) -> list[SourceRef]:
    """Return the readable files of files, folders, archives and patterns, each once.

    Archives are unpacked into the folder `unpack_into`, and refused without one. Raise
    SourceMissing where nothing is there, SourceUnreadable for a folder without a readable file and
    for a file of an unknown format.
    """
    refs: dict[str, SourceRef] = {}
    for pointer in pointers:
        for ref in _resolve(pointer, unpack_into):
            refs.setdefault(ref.pointer or str(ref.path.resolve()), ref)
    return list(refs.values())


def is_url(pointer: str) -> bool:
    """Tell whether a pointer is a web address, that is a feed."""
    return pointer.lower().startswith(("http://", "https://"))


def _resolve(pointer: str, unpack_into: Path | None) -> list[SourceRef]:
    if pointer.startswith(_HUB):
        load("dataset.hub_dataset:parse")(pointer)
        return [SourceRef(path=Path(pointer), format="dataset", pointer=pointer)]
    if is_url(pointer):
        return []  # the flow downloads a feed's transcripts
    if scheme := _SCHEME.match(pointer):
        raise SourceUnreadable(
            f"{pointer!r} cannot be read: the address {scheme[1].lower()}:// is not supported",
            "give a file, downloaded first if necessary; https:// is for the feed of a podcast,"
            " hf:// for a hub dataset",
        )
    if not pointer.strip():
        raise SourceMissing("the name of a source is empty", "name a file, a folder or a pattern")
    path = _expand_home(pointer)
    if path.is_dir():
        return _in_folder(path, unpack_into)
    if path.exists():
        return _in_file(path, unpack_into)
    if _WILDCARD.search(pointer):
        # Path.glob takes no absolute pattern.
        names = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207
        has_ending = path.suffix and not _WILDCARD.search(path.suffix)
        refs = [
            ref
            for file in map(Path, names)
            if file.is_file()
            and not _in_workspace(file)
            and (has_ending or _has_format(file, unpack_into))
            for ref in _promised(file, unpack_into)
        ]
        if refs:
            return refs
        if names:
            raise SourceUnreadable(f"{pointer!r} matches no readable source", _KNOWN_FORMATS)
    raise SourceMissing(
        f"there is no file, folder or match for {pointer!r}",
        "check the spelling, and quote a pattern so that the shell leaves it alone",
    )


def _in_folder(folder: Path, unpack_into: Path | None) -> list[SourceRef]:
    refs = [
        ref
        for path, is_source in _files(folder, unpack_into)
        if is_source
        for ref in _promised(path, unpack_into)
    ]
    if not refs:
        raise SourceUnreadable(
            f"the folder {str(folder)!r} contains no readable source", _KNOWN_FORMATS
        )
    return refs


def _in_file(path: Path, unpack_into: Path | None, depth: int = 0) -> list[SourceRef]:
    """Return a file, or the files of an archive; those in an archive within it, too."""
    if unpack_into is None or depth > _MOST_ARCHIVES_DEEP or not is_archive(path):
        return [ref_of(path)]
    folder = unpack(path, unpack_into)
    files = list(_files(folder, unpack_into))
    refs: list[SourceRef] = []
    for file, is_source in files:
        if is_source and is_archive(file):
            refs += _in_file(file, unpack_into, depth + 1)
        elif is_source or (len(files) == 1 and format_of(file)):
            refs += _promised(file, None)
    if not refs:
        names = [str(file.relative_to(folder)) for file, _ in files]
        shown = ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")
        raise SourceUnreadable(
            f"the archive {str(path)!r} contains no readable source (its files: {shown or 'none'})",
            _KNOWN_FORMATS,
        )
    return refs


def skipped_files(pointers: Sequence[str], unpack_into: Path | None = None) -> list[Path]:
    """Return the files in folders and archives that are not taken: README.md, other formats."""
    paths = map(_expand_home, pointers)
    return [left for path in paths for left in _left_out(path, unpack_into)]


def _left_out(path: Path, unpack_into: Path | None) -> Iterator[Path]:
    if unpack_into is not None and path.is_file() and is_archive(path):
        try:
            path = unpack(path, unpack_into)
        except SourceError:
            return  # told where it is read
    if path.is_dir():
        for file, is_source in _files(path, unpack_into):
            if is_source:
                yield from _left_out(file, unpack_into)
            else:
                yield file


def _files(folder: Path, unpack_into: Path | None) -> Iterator[tuple[Path, bool]]:
    """Yield each file in a folder, and whether it is taken; hidden ones and a build's are no files.

    A README or a licence describes the files beside it and is not taken.
    """
    is_own = unpack_into is not None and unpack_into.resolve() in folder.resolve().parents
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if hidden or path.is_dir() or (_in_workspace(path) and not is_own):
            continue
        is_about = path.suffix.lower() in _NOTE_SUFFIXES and _ABOUT_FILES.match(path.stem)
        yield path, path.is_file() and not is_about and _has_format(path, unpack_into)


def _has_format(path: Path, unpack_into: Path | None) -> bool:
    suffix = path.suffix.lower()
    if suffix not in PACKED_SUFFIXES or unpack_into is not None:
        return suffix in SUFFIXES or suffix in PACKED_SUFFIXES
    known = format_of(path)  # an exported chat is read as it is
    return known is not None and known.kind == "chat"


def _expand_home(pointer: str) -> Path:
    try:
        return Path(pointer).expanduser()
    except RuntimeError:  # "~nobody" names no user: then it is a file's name
        return Path(pointer)


def _in_workspace(path: Path) -> bool:
    """Tell whether a file belongs to a workspace: a build's own output must not become a source."""
    return any((folder / _STORE).exists() for folder in path.parents)


def ref_of(path: Path) -> SourceRef:
    """Return a file with its format; raise SourceUnreadable for an unknown one."""
    known = format_of(path)
    if known is None:
        raise unknown_format(path)
    return SourceRef(path=path, format=known.name)


def _promised(path: Path, unpack_into: Path | None) -> list[SourceRef]:
    """Return a file with the format of its content, else of its ending; its reader finds faults."""
    by_ending = [known for known in FORMATS if path.suffix.lower() in known.suffixes]
    try:
        if not by_ending or is_archive(path):
            return _in_file(path, unpack_into)
    except SourceUnreadable:
        if path.suffix.lower() not in (*SUFFIXES, *PACKED_SUFFIXES):
            raise
    return [SourceRef(path=path, format=(format_of(path) or (by_ending or FORMATS)[-1]).name)]


def unknown_format(path: Path) -> SourceUnreadable:
    """Return the error for a file that no extractor reads."""
    content = content_of(path)
    if content is None:
        return SourceUnreadable(f"no extractor reads the format of {str(path)!r}", _KNOWN_FORMATS)
    step = (
        f"rename it so that it ends in {content.suffixes[0]}"
        if content.suffixes
        else _KNOWN_FORMATS
    )
    return SourceUnreadable(
        f"no extractor reads {str(path)!r}: by its content it is {content.description}",
        content.next_step or step,
    )


def printable(path: Path) -> str:
    """Return a path as text that can be stored: bytes that are not UTF-8 as their escapes."""
    return str(path).encode("utf-8", "backslashreplace").decode()
