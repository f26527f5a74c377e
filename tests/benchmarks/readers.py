"""Read one PDF with one tool and write its paragraphs, parted by form feeds, to a file.

Run as `python readers.py TOOL PDF OUT` in a process of its own, so that each tool pays for its own
start and imports nothing but itself.
"""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

_BLANK = re.compile(r"\n\s*\n")
_MARKUP = re.compile(r"^(?:#{1,6}|>|[-*+](?=\s))\s*|\*\*|(?<!\w)_|_(?!\w)|~~|`", re.MULTILINE)


def _split(text: str) -> list[str]:
    return [part for page in text.split("\f") for part in _BLANK.split(page) if part.strip()]


def _plain(markdown: str) -> list[str]:
    """Take Markdown's own signs off: they are the tool's way of saying heading or bold."""
    return [_MARKUP.sub("", part) for part in _split(markdown)]


def pdftotext(path: str) -> list[str]:
    """Run poppler's pdftotext in reading order."""
    command = ["pdftotext", "-enc", "UTF-8", path, "-"]
    return _split(subprocess.run(command, capture_output=True, check=True).stdout.decode())


def pdfminer(path: str) -> list[str]:
    """Run pdfminer.six with its own layout."""
    return _split(_module("pdfminer.high_level").extract_text(path))


def pypdfium2(path: str) -> list[str]:
    """Run PDFium's text page."""
    pdf = _module("pypdfium2").PdfDocument(path)
    pages = (page.get_textpage().get_text_bounded() for page in pdf)
    return _split("\f".join(text.replace("\r\n", "\n") for text in pages))


def pdfplumber(path: str) -> list[str]:
    """Run pdfplumber with a tolerance that keeps tight words apart."""
    with _module("pdfplumber").open(path) as pdf:
        return _split("\f".join(page.extract_text(x_tolerance=1.5) or "" for page in pdf.pages))


def markitdown(path: str) -> list[str]:
    """Run Microsoft's markitdown."""
    return _plain(_module("markitdown").MarkItDown().convert(path).text_content)


def pymupdf4llm(path: str) -> list[str]:
    """Run pymupdf4llm with running heads and feet off."""
    peer = _module("pymupdf4llm")
    return _plain(peer.to_markdown(path, header=False, footer=False, show_progress=False))


def ours(path: str, engine: str | None, kinds: Iterable[str]) -> list[str]:
    """Run Memoirist's extract step and return the blocks of these kinds."""
    from datetime import UTC, datetime

    from memoirist.data.schema.records import Source
    from memoirist.extractors.settings import ExtractSettings
    from memoirist.extractors.source_reader import extract

    settings = ExtractSettings.model_validate({"engine": engine} if engine else {})
    source = Source(
        id="bench",
        kind="book",
        format="pdf",
        location=path,
        sha256="",
        added_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    wanted = set(kinds)
    return [block.text for block in extract(source, settings).blocks if block.kind in wanted]


def _module(name: str) -> Any:
    return importlib.import_module(name)


PEERS: dict[str, Callable[[str], list[str]]] = {
    each.__name__: each
    for each in (pdftotext, pypdfium2, pdfminer, pdfplumber, markitdown, pymupdf4llm)
}


def main() -> None:
    """Read as the arguments say; `memoirist:ENGINE:KINDS` is our own reader."""
    tool, path, out = sys.argv[1:4]
    if tool.startswith("memoirist:"):
        _, engine, kinds = tool.split(":")
        found = ours(path, engine or None, kinds.split(","))
    else:
        found = PEERS[tool](path)
    Path(out).write_text("\f".join(found), "utf-8", errors="replace")


if __name__ == "__main__":
    main()
