"""Tell notes from text by their marks, and take the marks out of the text."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

from memoirist.extractors.text.text_unit import Unit

_TEXT = {"paragraph", "quote", "heading"}
_KANA = "ヾゝゞ々ぁあぃいぅうぇえぉおかがきぎくぐけげこごさざしじすずせぜそぞただちぢつづてでと"
_BRACKETED = re.compile(
    r"^\[\s*(?:foot|end)?note(?:\s+(?P<label>[\w*†‡]{1,4}))?\s*[:.]\s*(?P<text>.*?)\]?$",
    re.S | re.I,
)
_LABELLED = re.compile(
    r"^(?P<mark>[\[〔［](?P<a>\w{1,4}|[*†‡§¶]{1,3})[\]〕］]|\(\*?(?P<b>\d{1,3}|\*{1,3})\)"
    r"|\{(?P<c>\d{1,3})\}|<(?P<e>\d{1,3})>"
    rf"|(?P<d>\*{{1,4}}|[†‡§¶]{{1,3}})(?=[\s\"“(A-Z])|(?P<f>[¹²³⁰⁴-⁹]{{1,3}})|(?P<g>[①-⑳])"
    rf"|(?P<h>[{_KANA}])(?=[^\s]))\s*",
)
_ILLUSTRATION = re.compile(
    r"^\[\s*(?:illustration|frontispiece|plate|map|figure|image|portrait|abbildung|illustrazione"
    r"|ilustraci[oó]n)\b\s*[:.]?\s*(?P<text>.*?)\]?$",
    re.S | re.I,
)
_PAGE = re.compile(r"\s?(?:\[(?:pg|page|p\.)\s?(?P<page>\w{1,5})\]|\{(?P<other>\d{1,4})\})", re.I)
# A note stands within so many units of its mark, or in a section of notes.
_REACH = 12
_MAX_NOTE_UNITS, _MAX_CAPTION_UNITS = 40, 4


def mark_notes(units: Sequence[Unit]) -> int:
    """Name note units footnotes and take their marks out of the text; return the marks removed.

    A paragraph that opens with a mark is a note where a text before it bears the same mark, or
    where it stands in a section of notes; a mark is removed where its note is found.
    """
    for at in range(len(units)):
        _bracketed(units, at)
    removed = 0
    owners: defaultdict[str, list[int]] = defaultdict(list)
    in_section = _sections(units)
    for at, unit in enumerate(units):
        if unit.kind == "footnote" and unit.sure and unit.label is None:
            continue
        label = unit.label if unit.kind == "footnote" and unit.label else _label(unit)
        if label is None or unit.kind not in {"paragraph", "quote", "footnote"}:
            continue
        owner = _owner(units, at, label, in_section[at] or unit.kind == "footnote")
        if owner is None and not in_section[at]:
            continue
        if unit.kind != "footnote" or unit.label is None:
            unit.text = _LABELLED.sub("", unit.text, count=1) or unit.text
        unit.kind, unit.label = "footnote", label
        unit.text = unit.text.replace("\n", " ")
        if owner is not None:
            owners[label].append(owner)
            units[owner].text, n = _without(units[owner].text, label)
            removed += n
    return removed


def _bracketed(units: Sequence[Unit], at: int) -> None:
    """Name "[Footnote 1: ...]" and "[Illustration: ...]", over several units where they go on."""
    unit = units[at]
    if unit.kind not in {"paragraph", "quote"} or not unit.text.startswith("["):
        return
    opened, closed = unit.text.count("["), unit.text.count("]")
    found = _BRACKETED.match(unit.text) or _ILLUSTRATION.match(unit.text)
    if found is None:
        return
    unit.kind = "footnote" if found.re is _BRACKETED else "caption"
    unit.label = found["label"] if unit.kind == "footnote" else None
    # Its own last bracket is not part of the note.
    unit.text = (found["text"] if opened == closed else unit.text[found.start("text") :]).strip()
    unit.text = unit.text or "[]"
    if opened > closed:
        _continue(units, at, opened - closed)


def _continue(units: Sequence[Unit], at: int, missing: int) -> None:
    """Give the units up to the closing bracket the kind of the one that opened it, if it closes."""
    limit = _MAX_NOTE_UNITS if units[at].kind == "footnote" else _MAX_CAPTION_UNITS
    for last in range(at + 1, min(at + limit, len(units))):
        if units[last].kind not in {"paragraph", "quote", "heading"}:
            return
        missing += units[last].text.count("[") - units[last].text.count("]")
        if missing <= 0:
            for each in units[at + 1 : last + 1]:
                each.kind, each.level, each.sure = units[at].kind, 0, True
            return


def _label(unit: Unit) -> str | None:
    found = _LABELLED.match(unit.text)
    if found is None or found.end() >= len(unit.text):
        return None
    return next(group for group in found.groups()[1:] if group)


def _sections(units: Sequence[Unit]) -> list[bool]:
    """Tell for each unit whether it stands below a heading such as "Footnotes"."""
    inside, found = False, []
    for unit in units:
        if unit.kind == "heading":
            inside = False
        elif unit.kind == "footnote" and not unit.sure and unit.label is None:
            inside = True
        found.append(inside)
    return found


def _owner(units: Sequence[Unit], at: int, label: str, far: bool) -> int | None:
    """Return the nearest text unit before `at` that bears the mark; any distance where `far`."""
    mark = _mark(label)
    first = 0 if far else max(0, at - _REACH)
    for before in range(at - 1, first - 1, -1):
        unit = units[before]
        if unit.kind in _TEXT and mark.search(unit.text):
            return before
        if not far and unit.kind == "heading" and unit.level in {1, 2}:
            return None
    return None


def _mark(label: str) -> re.Pattern[str]:
    """Return the pattern of a label where it is a mark: in brackets, or raised behind a word."""
    quoted = re.escape(label)
    if label.isascii() and label.isalnum():
        return re.compile(
            rf"[ ]?(?:[\[〔［]{quoted}[\]〕］]|\(\*{quoted}\)|\{{{quoted}\}}|<{quoted}>)"
        )
    if set(label) <= set("*†‡§¶"):
        return re.compile(
            rf"[ ]?(?:\[{quoted}\]|\({quoted}\))|(?<=[\w.,;:!?\"”’')\]]){quoted}(?![*\w])"
        )
    return re.compile(rf"(?<=\S) ?{quoted}")


def _without(text: str, label: str) -> tuple[str, int]:
    changed, n = _mark(label).subn("", text, count=1)
    return changed, n


def cut_pages(units: Sequence[Unit]) -> None:
    """Take marks such as "[Pg 12]" out of the text and number the units from there on."""
    page: str | None = None
    for unit in units:
        unit.page = unit.page or page
        for found in _PAGE.finditer(unit.text) if "[" in unit.text or "{" in unit.text else ():
            page = found["page"] or found["other"]
            if found.start() < 2:
                unit.page = page
        if page is not None:
            unit.text = _PAGE.sub("", unit.text).strip()
