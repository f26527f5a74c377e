"""Render jinja2 templates: HTML is escaped by itself, Markdown by filters for source text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

_MARKUP = re.compile(r"[\\`*\[\]<>|~$]|(?<!\w)_|_(?!\w)|&(?=#?\w+;)")
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
    """Return text in one line as Markdown that shows it as it is, in a table cell too."""
    escaped = _MARKUP.sub(r"\\\g<0>", " ".join(str(text).split()))
    return _BLOCK_START.sub(_escape_start, escaped)


def _escape_start(match: re.Match[str]) -> str:
    start = match[0]
    return f"{start}\\" if start.isdigit() else f"\\{start}"


def code_span(text: object) -> str:
    """Return text as a code span of Markdown; backticks become apostrophes, which need no care."""
    return f"`{' '.join(str(text).split()).replace('`', chr(39))}`"


def block_quote(text: object) -> str:
    """Return text as a block quote of Markdown that keeps its lines."""
    return "\n".join(f"> {markdown_text(line)}".rstrip() for line in str(text).splitlines() or [""])
