"""Render jinja2 templates: HTML is escaped by itself, Markdown by filters for source text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from memoirist.data.text.sanitizer import visible

# What Markdown and its dialects give a meaning; addresses and mentions become links by themselves.
_MARKUP = re.compile(
    r"[\\`*\[\]|~$@]|(?<![^\W_])_|_(?![^\W_])|(?<=\])\(|(?<=:)/(?=/)|(?<=www)\.", re.IGNORECASE
)
# As entities, which hold in renderers too that know no backslash before them.
_HTML = {"<": "&lt;", ">": "&gt;"}
_HTML_MARKUP = re.compile(r"[<>]|&(?=#?\w+;)")
_BLOCK_START = re.compile(r"^([-+=#]|\d+(?=[.)](?:\s|$)))")


def render(template: Path, values: Mapping[str, object]) -> str:
    """Return a template filled in; one that ends in `.html.j2` or `.svg.j2` escapes all values.

    Raises jinja2.UndefinedError for a value that the template uses and `values` lacks.
    """
    return _environment(template.parent).get_template(template.name).render(values)


@cache
def _environment(folder: Path) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=select_autoescape(["html.j2", "svg.j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"md": markdown_text, "code": code_span, "quoted": block_quote}
    return environment


def markdown_text(text: object) -> str:
    """Return text in one line as Markdown that shows it as it is, in a table cell too.

    Characters that are not seen, such as those that turn the reading direction, are left out.
    """
    line = " ".join(visible(str(text)).split())
    escaped = _BLOCK_START.sub(_escape_start, _MARKUP.sub(r"\\\g<0>", line))
    return _HTML_MARKUP.sub(lambda match: _HTML.get(match[0], "&amp;"), escaped)


def markdown_rows(rows: Iterable[Mapping[str, object]]) -> list[dict[str, object]]:
    """Return the rows of a table whose cells are read as Markdown, with all texts escaped."""
    return [{name: _cell(value) for name, value in row.items()} for row in rows]


def _cell(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _cell(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_cell(inner) for inner in value]
    return markdown_text(value) if isinstance(value, str) else value


def _escape_start(match: re.Match[str]) -> str:
    start = match[0]
    return f"{start}\\" if start.isdigit() else f"\\{start}"


def code_span(text: object) -> str:
    """Return text as a code span of Markdown; backticks become apostrophes, which need no care."""
    return f"`{' '.join(visible(str(text)).split()).replace('`', chr(39))}`"


def block_quote(text: object) -> str:
    """Return text as a block quote of Markdown that keeps its lines."""
    return "\n".join(f"> {markdown_text(line)}".rstrip() for line in str(text).splitlines() or [""])
