"""Extract Markdown: made HTML, then read as HTML; front matter gives title, author, language."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import yaml
from markdown_it import MarkdownIt

from memoirist.data.schema.records import Rows, Source
from memoirist.extractors.detection.format_registry import Progress
from memoirist.extractors.settings import ExtractSettings
from memoirist.extractors.text.encoding import decode, unix_lines
from memoirist.extractors.text.html import units_of_body
from memoirist.extractors.text.html_elements import language_of
from memoirist.extractors.text.text_rows import decode_source, encoding_verdicts, rows_of
from memoirist.extractors.text.text_unit import Unit

_FRONT_MATTER = re.compile(
    r"\A\s*---[ \t]*\r?\n(.*?)\r?\n(?:---|\.\.\.)[ \t]*(?:\r?\n|\Z)", re.DOTALL
)
_MAX_FRONT_CHARS = 64_000
_NOTE = re.compile(r"^ {0,3}\[\^([^\]\s]+)\]:[ \t]*")
_MARK = re.compile(r"(?<!\\)\[\^[^\]\s]+\]")
_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})")


def front_matter(text: str) -> tuple[Mapping[str, object], str, str | None]:
    """Return the YAML mapping at the head of a text, the text behind it, and the error of bad YAML.

    Where the head is no mapping, the mapping is empty and the text whole.
    """
    match = _FRONT_MATTER.match(text)
    if match is None or len(match[1]) > _MAX_FRONT_CHARS:
        return {}, text, None
    body = text[match.end() :]
    try:
        values = yaml.safe_load(match[1])
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        return {}, body, str(error).splitlines()[0][:100]
    if not isinstance(values, dict):
        return {}, text, None
    return {str(key).lower(): value for key, value in values.items()}, body, None


def text_value(value: object) -> str | None:
    """Return a value of the front matter as text, a list joined by commas; None for other types."""
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    return " ".join(value.split()) or None if isinstance(value, str) else None


def _read_front_matter(text: str) -> tuple[Mapping[str, object], str]:
    """Return the front matter and the text behind it; a head that is no YAML is text."""
    text = unix_lines(text)
    values, body, error = front_matter(text)
    return values, text if error else body


def names(path: Path) -> tuple[str | None, str | None]:
    """Return title and author of the front matter, else the first heading as the title."""
    try:
        with path.open("rb") as file:
            values, body = _read_front_matter(decode(file.read(_MAX_FRONT_CHARS)).text)
    except OSError:
        return None, None
    heading = re.match(r"\s*# +(.+?) *#*\s*(?:\n|\Z)", body)
    title = text_value(values.get("title")) or (heading[1] if heading else None)
    return title, text_value(values.get("author") or values.get("authors"))


def extract_markdown(
    source: Source, settings: ExtractSettings, on_progress: Progress | None = None
) -> Rows:
    """Return the blocks of a Markdown text; raise SourceUnreadable where it holds no prose."""
    decoded = decode_source(source)
    values, body = _read_front_matter(decoded.text)
    text, notes = _without_notes(body)
    units = units_of_body(MarkdownIt("commonmark").enable("table").render(text))
    units += [Unit(kind="footnote", text=note, fixed=True) for note in notes if note]
    lang = language_of(text_value(values.get("lang") or values.get("language")))
    return rows_of(source, units, lang, encoding_verdicts(source, decoded))


def _without_notes(text: str) -> tuple[str, list[str]]:
    """Return the text without note marks and note definitions, and the notes' texts."""
    kept: list[str] = []
    notes: list[list[str]] = []
    fence, in_note = "", False
    for line in text.split("\n"):
        mark = _FENCE.match(line)
        if mark and (not fence or mark[1].startswith(fence)):
            fence = "" if fence else mark[1]
        if fence:
            kept.append(line)
        elif note := _NOTE.match(line):
            notes.append([line[note.end() :]])
            in_note = True
        elif in_note and (
            not line.strip() or line.startswith(("    ", "\t")) or notes[-1][-1].strip()
        ):
            notes[-1].append(line)
        else:
            in_note = False
            kept.append(_MARK.sub("", line))
    return "\n".join(kept), [" ".join(" ".join(lines).split()) for lines in notes]
