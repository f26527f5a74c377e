"""What a PDF says of itself, and the errors for one that does not open; no PDF library in here."""

from __future__ import annotations

from dataclasses import dataclass

from memoirist.data.schema.errors import SourceEncrypted, SourceUnreadable


@dataclass(frozen=True, slots=True, kw_only=True)
class PdfFacts:
    """What the file says of itself; `outline` holds (level, title).

    `labels` are the printed numbers of all pages, in order, where the file states them.
    """

    n_pages: int
    title: str | None = None
    author: str | None = None
    outline: tuple[tuple[int, str], ...] = ()
    labels: tuple[str, ...] = ()


def told(value: str | None) -> str | None:
    """Return a text of the file on one line, None where it says nothing."""
    return " ".join((value or "").replace("\x00", "").split()) or None


def unreadable(path: str, why: str) -> SourceUnreadable:
    """Return the error for a PDF that cannot be read."""
    return SourceUnreadable(
        f"the PDF {path!r} is damaged ({why[:160]})",
        "get a whole copy of the file, or mend it with: qpdf in.pdf out.pdf",
    )


def encrypted(path: str, tried: int) -> SourceEncrypted:
    """Return the error for a locked PDF; `tried` passwords did not open it."""
    if tried:
        return SourceEncrypted(
            f"the PDF {path!r} is locked, and no given password opens it",
            "unlock it with the right one: --password PASSWORD",
        )
    return SourceEncrypted(
        f"the PDF {path!r} is locked with a password",
        "unlock it with: --password PASSWORD (it is not stored)",
    )
