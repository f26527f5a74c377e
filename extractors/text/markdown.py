"""Extract Markdown: made HTML, then read as HTML; front matter gives title, author, language."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from markdown_it import MarkdownIt

from memoirist.data.schema.records import Rows, Source
from memoirist.extractors.detection.format_registry import Progress
from memoirist.extractors.settings import ExtractSettings
from memoirist.extractors.text.encoding import decode
from memoirist.extractors.text.html import units_of_page
from memoirist.extractors.text.html_elements import parse
from memoirist.extractors.text.plain_text import decoded, doubts, lf
from memoirist.extractors.text.text_rows import document_verdict, rows_of
from memoirist.extractors.text.text_unit import Unit

_FRONT = re.compile(r"\A---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_MAX_FRONT_CHARS = 64_000
_NOTE = re.compile(r"^ {0,3}\[\^([^\]\s]+)\]:[ \t]*")
_MARK = re.compile(r"(?<!\\)\[\^[^\]\s]+\]")
_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})")


def front_matter(text: str) -> tuple[dict[str, object], str]:
    """Return the YAML mapping at the head of the text, empty where there is none, and the rest."""
    found = _FRONT.match(text)
    if found is None or len(found[1]) > _MAX_FRONT_CHARS:
        return {}, text
    try:
        stated = yaml.safe_load(found[1])
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}, text
    if not isinstance(stated, dict):
        return {}, text
    return {str(key).lower(): value for key, value in stated.items()}, text[found.end() :]


def names(path: Path) -> tuple[str | None, str | None]:
    """Return title and author of the front matter, else the first heading as the title."""
    try:
        with path.open("rb") as file:
            stated, body = front_matter(lf(decode(file.read(_MAX_FRONT_CHARS)).text))
    except OSError:
        return None, None
    first = re.match(r"\s*# +(.+?) *#*\s*(?:\n|\Z)", body)
    title = _told(stated.get("title")) or (first[1] if first else None)
    return title, _told(stated.get("author") or stated.get("authors"))


def _told(value: object) -> str | None:
    if isinstance(value, list):
        value = ", ".join(str(each) for each in value)
    return " ".join(value.split()) or None if isinstance(value, str) else None


def extract_markdown(
    source: Source, settings: ExtractSettings, on_progress: Progress | None = None
) -> Rows:
    """Return the blocks of a Markdown text; raise SourceUnreadable where it holds no prose."""
    read = decoded(source)
    stated, body = front_matter(lf(read.text))
    text, notes = without_notes(body)
    root = parse(
        f"<body>{MarkdownIt('commonmark').enable('table').render(text)}</body>", xhtml=False
    )
    units = units_of_page(root) if root is not None else []
    units += [Unit(kind="footnote", text=note, sure=True) for note in notes if note]
    lang = _told(stated.get("lang") or stated.get("language"))
    verdicts = [document_verdict(source, "encoding", *doubt, keep=True) for doubt in doubts(read)]
    return rows_of(source, units, lang.split("-")[0].lower() if lang else None, verdicts)


def without_notes(text: str) -> tuple[str, list[str]]:
    """Return the text without note marks and note definitions, and the notes' texts."""
    kept: list[str] = []
    notes: list[list[str]] = []
    fence, in_note = "", False
    for line in text.split("\n"):
        opened = _FENCE.match(line)
        if opened and (not fence or opened[1].startswith(fence)):
            fence = "" if fence else opened[1]
        if fence:
            kept.append(line)
            continue
        if found := _NOTE.match(line):
            notes.append([line[found.end() :]])
            in_note = True
        elif (
            in_note
            and (line.startswith(("    ", "\t")) or (line.strip() and notes[-1][-1].strip()))
        ) or (in_note and not line.strip()):
            notes[-1].append(line)
        else:
            in_note = False
            kept.append(_MARK.sub("", line))
    return "\n".join(kept), [" ".join(" ".join(lines).split()) for lines in notes]
