"""Read a podcast's feed: RSS or Atom, its episodes and the transcripts that they name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urljoin, urlsplit

from lxml import etree

from memoirist.data.schema.errors import SourceUnreadable

# Formats in the order in which they tell who speaks when: voices and names first, markup last.
RANKS = {
    "text/vtt": (0, ".vtt"),
    "application/json": (1, ".json"),
    "application/x-subrip": (2, ".srt"),
    "application/srt": (2, ".srt"),
    "text/srt": (2, ".srt"),
    "text/html": (3, ".html"),
    "text/markdown": (4, ".md"),
    "text/plain": (5, ".txt"),
}
_SUFFIXES = {suffix: (rank, suffix) for rank, suffix in RANKS.values()} | {".htm": (3, ".html")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """One transcript that an episode names: where, in which format, how good that is."""

    url: str
    suffix: str
    rank: int
    lang: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """One episode of a feed, with its transcripts from the best format to the plainest."""

    guid: str
    title: str
    published: date | None
    offered: tuple[Offered, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """A feed's title and its episodes, newest first."""

    title: str | None
    episodes: tuple[Episode, ...]


def parse_feed(content: bytes, url: str) -> Feed:
    """Return the feed that `content` is; addresses are resolved against `url`.

    Entities are not resolved and nothing is loaded. Raise SourceUnreadable for what is no feed.
    """
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, recover=True
    )
    try:
        root = etree.fromstring(content, parser=parser)
    except (etree.XMLSyntaxError, ValueError):
        root = None
    if root is None or _name(root) not in {"rss", "feed", "RDF"}:
        raise SourceUnreadable(
            f"{url!r} is no RSS or Atom feed", "give the address of the podcast's feed itself"
        )
    channel = next((each for each in root.iter() if _name(each) == "channel"), root)
    lang = _text(channel, "language") or root.get("{http://www.w3.org/XML/1998/namespace}lang")
    found = [_episode(each, url, lang) for each in root.iter() if _name(each) in {"item", "entry"}]
    # A sort that keeps the feed's order among equals, and what has no date where it stands: last.
    episodes = sorted(found, key=lambda each: each.published or date.min, reverse=True)
    return Feed(title=_text(channel, "title"), episodes=tuple(episodes))


def _episode(entry: etree._Element, url: str, lang: str | None) -> Episode:
    offered = [found for each in entry if (found := _offered(each, url))]
    own = (lang or "").split("-")[0].casefold()
    ordered = sorted(
        offered, key=lambda each: (not _spoken(each, own), each.rank, offered.index(each))
    )
    title = _text(entry, "title") or "untitled"
    told = _text(entry, "pubDate") or _text(entry, "published") or _text(entry, "updated")
    link = next((each.get("href") or each.text for each in entry if _name(each) == "link"), None)
    return Episode(
        guid=_text(entry, "guid") or _text(entry, "id") or (link or title).strip(),
        title=title,
        published=_date(told or _text(entry, "date")),
        offered=tuple(ordered),
    )


def _spoken(offered: Offered, lang: str) -> bool:
    """Tell whether a transcript is in the feed's language, as far as both say."""
    return not offered.lang or not lang or offered.lang.split("-")[0].casefold() == lang


def _offered(element: etree._Element, base: str) -> Offered | None:
    if _name(element) != "transcript" or not element.get("url"):
        return None
    url = urljoin(base, str(element.get("url")).strip())
    if urlsplit(url).scheme not in {"http", "https"}:
        return None
    kind = str(element.get("type") or "").split(";")[0].strip().casefold()
    path = urlsplit(url).path
    suffix = path[path.rfind(".") :].casefold() if "." in path else ""
    known = RANKS.get(kind) or _SUFFIXES.get(suffix) or RANKS["text/plain"]
    return Offered(url=url, suffix=known[1], rank=known[0], lang=element.get("language"))


def _name(element: etree._Element) -> str:
    # Comments and processing instructions have functions for tags.
    return etree.QName(element).localname if isinstance(element.tag, str) else ""


def _text(element: etree._Element, name: str) -> str | None:
    return next(_texts(element, name), None)


def _texts(element: etree._Element, name: str) -> Iterator[str]:
    for child in element:
        if _name(child) == name and (text := " ".join("".join(child.itertext()).split())):
            yield text[:500]


def _date(told: str | None) -> date | None:
    if not told:
        return None
    try:
        found = parsedate_to_datetime(told)
    except (TypeError, ValueError):
        try:
            found = datetime.fromisoformat(told)
        except ValueError:
            return None
    return (found.astimezone(UTC) if found.tzinfo else found).date()
