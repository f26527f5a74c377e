"""Read Podcasting 2.0 HTML transcripts: `<cite>` names, `<time>` tells when, `<p>` says what."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from lxml import etree, html

from memoirist.extractors.transcript.formats.base import Cue, Fault, Script
from memoirist.extractors.transcript.reading import read_head, read_text
from memoirist.extractors.transcript.times import seconds

_BLOCKS = frozenset({"p", "li", "blockquote", "dd"})
_MIN_PARAGRAPHS = 1


def is_podcast_html(path: Path) -> bool:
    """Tell whether a page is a transcript by its first tags: names, times and paragraphs."""
    head = read_head(path).lower()
    counts = [len(re.findall(rf"<{tag}[\s>]", head)) for tag in ("cite", "time", "p")]
    # A blog's page has one time and a citation here and there: here every paragraph has a name.
    return min(counts) >= _MIN_PARAGRAPHS and 3 * min(counts[:2]) >= counts[2]


def read_podcast_html(path: Path) -> list[Script]:
    """Return the one script of an HTML transcript."""
    text = read_text(path)
    parser = html.HTMLParser(no_network=True, huge_tree=False, recover=True)
    try:
        # Bytes, since lxml refuses a text that declares its own encoding.
        root = html.fromstring(text.encode("utf-8", "replace"), parser=parser)
    except (etree.ParserError, etree.XMLSyntaxError, ValueError):
        return [Script(cues=())]
    faults: list[Fault] = []
    return [Script(cues=list(_cues(root, faults)), faults=faults)]


def _cues(root: html.HtmlElement, faults: list[Fault]) -> Iterator[Cue]:
    speaker: str | None = None
    time: float | None = None
    for number, element in enumerate(root.iter("cite", "time", *_BLOCKS), start=1):
        said = " ".join(element.text_content().split())
        if element.tag == "cite":
            speaker = said.strip(": ") or None
            time = None
        elif element.tag == "time":
            time = seconds(element.get("datetime") or said)
            if time is None:
                time = seconds(said)
            if time is None and said:
                faults.append(_bad_time(number, said))
        elif said and not any(parent.tag in _BLOCKS for parent in element.iterancestors()):
            yield Cue(text=said, speaker=speaker, start=time, paragraph=True)
            time = None


def _bad_time(number: int, said: str) -> Fault:
    return Fault(
        where=f"element {number}",
        rule="bad_time",
        reason=f"{said[:40]!r} is no time; the words behind it are kept",
        next_step="mend it, such as <time>1:02</time>",
        keep=True,
    )
