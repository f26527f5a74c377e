"""Define what every PDF engine offers, the errors of opening, and the passwords that are tried."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol, cast

from memoirist.data.schema.errors import SourceEncrypted, SourceUnreadable
from memoirist.extractors.pdf.layout.geometry import PageLines

# For a process that is started without a terminal, such as a deployment's.
PASSWORD_VARIABLE = "MEMOIRIST_PASSWORD"  # noqa: S105 - the name of it

# In this process's memory and nowhere else.
_PASSWORDS: list[str] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class PdfInfo:
    """What a file says about itself; `outline` holds (level, title).

    `labels` are the printed numbers of all pages, in order, where the file states them.
    """

    n_pages: int
    title: str | None = None
    author: str | None = None
    outline: tuple[tuple[int, str], ...] = ()
    labels: tuple[str, ...] = ()


class Engine(Protocol):
    """The functions of an engine's module; `passwords` are tried after the empty one, in order."""

    def read_info(self, path: str, passwords: Sequence[str] = ()) -> PdfInfo:
        """Return what the file says about itself; raise SourceEncrypted or SourceUnreadable."""

    def read_pages(
        self, path: str, first: int, last: int, passwords: Sequence[str] = ()
    ) -> Iterator[PageLines]:
        """Give the pages `first` to `last`, counted from 1.

        A page that cannot be read has its error and no lines; raise as `read_info`.
        """

    def close_file(self) -> None:
        """Close the file that is kept open between calls."""


def engine_of(name: str) -> Engine:
    """Return the engine of that name: pdfminer, pdfium or auto; its library loads only now."""
    # A module is an engine by its functions, which the type checker cannot see by name.
    return cast("Engine", import_module(f"memoirist.extractors.pdf.engines.{name}"))


def on_one_line(value: str | None) -> str | None:
    """Return a text of the file on one line, None where it is empty."""
    return " ".join((value or "").replace("\x00", "").split()) or None


def unreadable(path: str, why: str) -> SourceUnreadable:
    """Return the error for a PDF that cannot be read."""
    return SourceUnreadable(
        f"the PDF {path!r} is damaged ({why[:160]})",
        "get a complete copy of the file, or repair it with: qpdf in.pdf out.pdf",
    )


def encrypted(path: str, passwords: Sequence[str]) -> SourceEncrypted:
    """Return the error for a locked PDF that none of `passwords` opens."""
    if passwords:
        return SourceEncrypted(
            f"the PDF {path!r} is locked, and none of the given passwords opens it",
            "give the right one: --password PASSWORD",
        )
    return SourceEncrypted(
        f"the PDF {path!r} is locked with a password",
        "unlock it with: --password PASSWORD (it is not stored)",
    )


def remember_passwords(given: Iterable[str]) -> None:
    """Add passwords to those that are tried for every locked file, in the order given."""
    _PASSWORDS.extend(word for word in given if word and word not in _PASSWORDS)


def forget_passwords() -> None:
    """Drop all passwords."""
    _PASSWORDS.clear()


def known_passwords() -> tuple[str, ...]:
    """Return the passwords to try, the environment's last."""
    return tuple(dict.fromkeys([*_PASSWORDS, *filter(None, [os.environ.get(PASSWORD_VARIABLE)])]))
