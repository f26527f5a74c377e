"""The user's chapter patterns against the chapters that are there."""

from __future__ import annotations

from collections.abc import Sequence

from memoirist.data.passages.chapters import UNTITLED, matches, nearest, source_names
from memoirist.data.schema.records import Source
from memoirist.flows.runtime.context import Context

_TITLES = """
SELECT DISTINCT d.source_id, coalesce(b.chapter, ?) AS title
FROM blocks b JOIN documents d ON d.id = b.document_id
UNION
SELECT DISTINCT d.source_id, b.text
FROM blocks b JOIN documents d ON d.id = b.document_id WHERE b.kind = 'heading'
ORDER BY ALL
"""


def warn_unmatched(context: Context, sources: Sequence[Source]) -> None:
    """Warn of every chapter pattern that no chapter of any source has, and name the nearest."""
    chapters = context.recipe.sources.chapters
    patterns = [("include", p) for p in chapters.include]
    patterns += [("exclude", p) for p in chapters.exclude]
    if not patterns:
        return
    titles: dict[str, list[str]] = {source.id: [] for source in sources}
    for row in context.workspace.store.rows(_TITLES, [UNTITLED]):
        titles.setdefault(row["source_id"], []).append(row["title"])
    for key, pattern in patterns:
        if any(matches(pattern, source, titles[source.id]) for source in sources):
            continue
        named = pattern.partition(": ")[0].casefold()
        mine = [s for s in sources if named in source_names(s)] or list(sources)
        near = nearest(pattern, [title for s in mine for title in titles[s.id]])
        told = ", ".join(repr(title) for title in near) or "there are none"
        context.report.warn(
            f"sources.chapters.{key} {pattern!r} fits no chapter; the nearest: {told};"
            " `memoirist look outline` shows them all"
        )
