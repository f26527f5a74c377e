"""Read Podcasting 2.0 HTML transcripts: `<cite>` is the speaker, `<time>` the time, `<p>` words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from lxml import etree, html

from memoirist.extractors.transcript.formats.base import (
    Cue,
    Fault,
    Script,
    bad_time,
    read_head,
    read_text,
    seconds,
)

_BLOCKS = frozenset({"p", "li", "blockquote", "dd"})


def is_podcast_html(path: Path) -> bool:
    """Tell whether a page is a transcript by its first tags: names, times and paragraphs."""
    head = read_head(path).lower()
    n_cite, n_time, n_p = (len(re.findall(rf"<{tag}[\s>]", head)) for tag in ("cite", "time", "p"))
    # A blog has a time and a few citations on a page: in a transcript each paragraph has a name.
    return n_p > 0 and min(n_cite, n_time) > 0 and 3 * min(n_cite, n_time) >= n_p


def read_podcast_html(path: Path) -> list[Script]:
    """Return the one script of an HTML transcript."""
    parser = html.HTMLParser(no_network=True, huge_tree=False, recover=True)
    try:
        # Bytes, since lxml refuses a text that declares its own encoding.
        root = html.fromstring(read_text(path).encode("utf-8", "replace"), parser=parser)
    except (etree.ParserError, etree.XMLSyntaxError, ValueError):
        return [Script(cues=())]
    faults: list[Fault] = []
    return [Script(cues=list(_cues(root, faults)), faults=faults)]


def _cues(root: html.HtmlElement, faults: list[Fault]) -> Iterator[Cue]:
    speaker: str | None = None
    time: float | None = None
    for number, element in enumerate(root.iter("cite", "time", *_BLOCKS), start=1):
        text = " ".join(element.text_content().split())
        if element.tag == "cite":
            speaker = text.strip(": ") or None
            time = None
        elif element.tag == "time":
            time = seconds(element.get("datetime") or text)
            time = seconds(text) if time is None else time
            if time is None and text:
                where = f"element {number}"
                step = "correct it, as in <time>1:02</time>"
                faults.append(bad_time(where, f"{text[:40]!r} is not a time", step))
        elif text and not any(parent.tag in _BLOCKS for parent in element.iterancestors()):
            yield Cue(text=text, speaker=speaker, start=time, paragraph=True)
            time = None
