"""Walk an HTML tree once and make units of it: headings, paragraphs, quotes, verse, captions."""

from __future__ import annotations

import re
from dataclasses import replace

from lxml import etree

from memoirist.data.schema.records import BlockKind
from memoirist.extractors.text.html_elements import Element, text_of
from memoirist.extractors.text.pieces import NO_ALT, TITLE_CHARS, Place, is_caption, pieces
from memoirist.extractors.text.roles import Role, page_of, role_of
from memoirist.extractors.text.text_unit import Unit, bare, spread, tidied

_HEADINGS = {"h1": 1, "h2": 2, "h3": 3, "h4": 4, "h5": 5, "h6": 6}
_BLOCKS = spread(
    "address article aside blockquote body caption center dd details div dl fieldset figcaption"
    " figure footer form header hgroup hr html li main nav ol p pre section summary table tbody"
    " td tfoot th thead tr ul"
) | frozenset(_HEADINGS)
_SKIPPED = spread(
    "script style head noscript template svg math iframe object embed audio video canvas button"
    " select option input textarea map title meta link rp rt"
)
_SPACE = re.compile(r"[ \t\r\n\f]+")
_LEADERS = re.compile(r"[ \t\u00a0]+")


class Walk:
    """One walk over a page; nothing in it recurses, so that no nesting is too deep."""

    def __init__(self) -> None:
        self.units: list[Unit] = []
        self.page: str | None = None
        self._held: list[str] = []
        self._linked = 0
        self._start_page: str | None = None
        self._anchors: list[str] = []
        self._place = Place()
        self._alt = ""

    def over(self, root: Element, kind: BlockKind | None = None) -> None:
        """Add the units of `root`; all of them are of `kind` where one is given."""
        places = [Place(kind=kind, sure=kind is not None)]
        self._place = places[0]
        events = etree.iterwalk(root, events=("start", "end"))
        for event, element in events:
            tag = element.tag if isinstance(element.tag, str) else ""
            if event == "start":
                if tag in _SKIPPED or not tag:
                    events.skip_subtree()
                    places.append(places[-1])
                    continue
                if (number := page_of(element)) is not None:
                    self._turn(number)
                    events.skip_subtree()
                    places.append(places[-1])
                    continue
                places.append(self._enter(element, tag, places[-1]))
                self._place = places[-1]
                self._take(element.text)
            else:
                place = places.pop()
                if place.line:
                    self._break()
                elif tag in _BLOCKS:
                    self._place = place
                    self._close()
                self._place = places[-1]
                self._take(element.tail if element is not root else None)
        self._close()

    def _turn(self, number: str) -> None:
        self.page = number or self.page
        if not "".join(self._held).strip():
            self._start_page = self.page

    def _enter(self, element: Element, tag: str, around: Place) -> Place:
        """Return the place inside an element; a block closes the text before it."""
        role = role_of(element, tag)
        block = tag in _BLOCKS
        # A line of verse may be its own block inside a stanza, and does not end it.
        line = block and around.verse and tag in {"div", "p", "li"} and _is_line(element, role)
        if line:
            self._break()
        elif (block and tag != "dd") or tag == "dt":
            self._close()
        if tag == "br":
            self._held.append("\n")
        elif tag in {"img", "image"}:
            self._alt = tidied(element.get("alt") or "") or NO_ALT
        elif tag in {"td", "th", "dd"}:
            self._held.append(" ")
        for key in ("id", "name"):
            if value := element.get(key):
                self._anchors.append(value)
        return replace(self._inside(element, role, tag, around), line=line)

    def _break(self) -> None:
        """End a line of verse, once."""
        before = "".join(self._held).rstrip(" ")
        if before and not before.endswith("\n"):
            self._held.append("\n")

    def _inside(self, element: Element, role: Role, tag: str, around: Place) -> Place:
        place = replace(around, line=False)
        if not around.sure and role.kind is not None:
            place = replace(place, kind=role.kind, sure=role.sure)
        if tag in _HEADINGS:
            place = replace(place, level=_HEADINGS[tag])
        elif tag == "hgroup":
            place = replace(place, level=_group_level(element))
        elif tag == "p" and around.level:
            place = replace(place, level=around.level + 1)
        if tag == "a":
            place = replace(place, link=True)
        if tag == "pre" or role.pre:
            place = replace(place, pre=True)
        if role.verse:
            place = replace(place, verse=True)
        if role.heading and not place.level and len(text_of(element)) <= TITLE_CHARS:
            place = replace(place, level=role.heading)
        return replace(place, initial=role.initial)

    def _take(self, text: str | None) -> None:
        if not text:
            return
        place = self._place
        clean = _LEADERS.sub(" ", text) if place.pre else _SPACE.sub(" ", text)
        if place.initial:
            clean = clean.strip()
        if place.link:
            self._linked += len(clean.strip())
        self._held.append(clean)

    def _close(self) -> None:
        """Make units of the text that is held."""
        text = "".join(self._held)
        linked, anchors = self._linked, self._anchors
        self._held, self._linked, self._anchors = [], 0, []
        page, self._start_page = self._start_page, self.page
        if not text.strip():
            self._anchors = anchors
            return
        place = self._place
        if self._alt:
            alt, self._alt = self._alt, ""
            if place.kind is None and not place.level and is_caption(text, alt):
                place = replace(place, kind="caption")
                # A photographer's name may stand above the caption itself.
                self._alt = "" if bare(text) == bare(alt) or alt == NO_ALT else alt
        for n, part in enumerate(pieces(text, place)):
            self.units.append(
                Unit(
                    kind=part[0],
                    text=part[1],
                    level=place.level if part[0] == "heading" else 0,
                    page=page if n == 0 else self.page,
                    sure=place.sure,
                    links=min(1.0, linked / max(1, len(text.strip()))),
                    anchors=anchors if n == 0 else [],
                )
            )


def _group_level(element: Element) -> int:
    """Return the highest level among the headings of a group."""
    return min((_HEADINGS[each.tag] for each in element.iter(*_HEADINGS)), default=2)


def _is_line(element: Element, role: Role) -> bool:
    """Tell whether a block within verse is one line of it, not a stanza of several."""
    if role.stanza:
        return False
    return not any(each.tag == "br" or each.tag in _BLOCKS for each in element.iterdescendants())
