"""Put the chapter titles of a book's navigation into its text where the text shows none."""

from __future__ import annotations

from collections.abc import Sequence

from memoirist.extractors.text.pieces import TITLE_CHARS
from memoirist.extractors.text.text_unit import Unit, bare

_BODY = {"paragraph", "quote"}


def with_titles(units: Sequence[Unit], titles: Sequence[tuple[str, str, int]]) -> list[Unit]:
    """Return the units with the navigation's (anchor, title, level) as headings.

    A short unit that reads like the title becomes the heading; where none does, one is put in.
    """
    wanted = {anchor: (title, level) for anchor, title, level in titles}
    found: list[Unit] = []
    for at, unit in enumerate(units):
        for anchor in unit.anchors:
            title, level = wanted.pop(anchor, ("", 0))
            if not title:
                continue
            near = units[at : at + 4]
            if any(each.kind == "heading" for each in near[:3]) or unit.sure:
                continue
            same = next((each for each in near if _reads_like(each, title)), None)
            if same is not None:
                same.kind, same.level = "heading", level
            elif unit.kind in _BODY:
                found.append(Unit(kind="heading", text=title, level=level, page=unit.page))
        found.append(unit)
    return found


def _reads_like(unit: Unit, title: str) -> bool:
    own, other = bare(unit.text), bare(title)
    if unit.sure or unit.kind not in _BODY or len(unit.text) > TITLE_CHARS:
        return False
    return bool(own) and (own == other or own in other or other in own)
