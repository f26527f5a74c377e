"""Parse a podcast's feed, RSS or Atom: its episodes and the transcripts that they offer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urljoin, urlsplit

from lxml import etree

from memoirist.data.schema.errors import SourceUnreadable

# File endings with ranks: formats that state voices and times come first, plain text last.
_RANKS = {
    "text/vtt": (0, ".vtt"),
    "application/json": (1, ".json"),
    "application/x-subrip": (2, ".srt"),
    "application/srt": (2, ".srt"),
    "text/srt": (2, ".srt"),
    "text/html": (3, ".html"),
    "text/markdown": (4, ".md"),
    "text/plain": (5, ".txt"),
}
_SUFFIXES = {suffix: (rank, suffix) for rank, suffix in _RANKS.values()} | {".htm": (3, ".html")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One transcript that an episode offers: its address, ending and rank, 0 the best."""

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
    offers: tuple[Offer, ...]


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
    channel = next((element for element in root.iter() if _name(element) == "channel"), root)
    lang = _text(channel, "language") or root.get("{http://www.w3.org/XML/1998/namespace}lang")
    entries = [element for element in root.iter() if _name(element) in {"item", "entry"}]
    # The sort keeps the feed's order among equals; episodes without a date come last.
    episodes = sorted(
        (_episode(entry, url, lang) for entry in entries),
        key=lambda episode: episode.published or date.min,
        reverse=True,
    )
    return Feed(title=_text(channel, "title"), episodes=tuple(episodes))


def _episode(entry: etree._Element, url: str, lang: str | None) -> Episode:
    offers = filter(None, (_offer(element, url) for element in entry))
    feed_lang = _language(lang)

    def is_other_language(offer: Offer) -> bool:
        return bool(offer.lang and feed_lang) and _language(offer.lang) != feed_lang

    title = _text(entry, "title") or "untitled"
    link = next((el.get("href") or el.text for el in entry if _name(el) == "link"), None)
    return Episode(
        guid=_text(entry, "guid", "id") or (link or title).strip(),
        title=title,
        published=_date(_text(entry, "pubDate", "published", "updated", "date")),
        offers=tuple(sorted(offers, key=lambda offer: (is_other_language(offer), offer.rank))),
    )


def _language(code: str | None) -> str:
    return (code or "").split("-")[0].casefold()


def _offer(element: etree._Element, base: str) -> Offer | None:
    if _name(element) != "transcript" or not element.get("url"):
        return None
    url = urljoin(base, str(element.get("url")).strip())
    if urlsplit(url).scheme not in {"http", "https"}:
        return None
    media_type = str(element.get("type") or "").split(";")[0].strip().casefold()
    path = urlsplit(url).path
    suffix = path[path.rfind(".") :].casefold() if "." in path else ""
    rank, suffix = _RANKS.get(media_type) or _SUFFIXES.get(suffix) or _RANKS["text/plain"]
    return Offer(url=url, suffix=suffix, rank=rank, lang=element.get("language"))


def _name(element: etree._Element) -> str:
    # Comments and processing instructions have functions for tags.
    return etree.QName(element).localname if isinstance(element.tag, str) else ""


def _text(element: etree._Element, *names: str) -> str | None:
    """Return the text of the first child with one of the names, in their order, that has any."""
    for name in names:
        for child in element:
            if _name(child) == name and (text := " ".join("".join(child.itertext()).split())):
                return text[:500]
    return None


def _date(text: str | None) -> date | None:
    if not text:
        return None
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return None
    return (moment.astimezone(UTC) if moment.tzinfo else moment).date()
