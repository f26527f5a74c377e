"""Update a podcast's transcripts from its feed, RSS or Atom: what is new and what has changed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from lxml import etree

from memoirist.data.atomic_write import write_file
from memoirist.data.schema.errors import PrivateAddress, SourceError, SourceUnreadable
from memoirist.data.schema.records import Source, Verdict, content_id
from memoirist.extractors.detection.discover import SourceRef
from memoirist.extractors.detection.sniff import format_of
from memoirist.extractors.settings import ExtractSettings
from memoirist.extractors.source_reader import extract, read_source
from memoirist.extractors.transcript.feeds.download import (
    MAX_FEED_BYTES,
    MAX_TRANSCRIPT_BYTES,
    Response,
    conditions,
    download,
    open_client,
)
from memoirist.extractors.transcript.feeds.feed_index import (
    FeedIndex,
    IndexedEpisode,
    load_index,
    save_index,
)

if TYPE_CHECKING:
    import httpx


Progress = Callable[[int, int, str], None]
# Corrections come in an episode's first weeks: without a limit, only so many are checked again.
_NEWEST = 20
_NEXT_STEPS = {
    "no_transcript": "transcribe it yourself, and name the file as a source",
    "transcript_missing": "nothing: the next refresh tries again",
    PrivateAddress.rule: "if you trust it, download it and name the file as a source",
}


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


@dataclass(slots=True, kw_only=True)
class FeedUpdate:
    """The result of an update: the feed's files, old and new, its own row, and what it lacks."""

    source: Source
    files: list[Path] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    n_new: int = 0
    n_changed: int = 0
    fault: SourceError | None = None


def feed_folder(feeds: Path, url: str) -> Path:
    """Return the folder of a feed's transcripts inside the workspace's folder for feeds."""
    parts = urlsplit(url)
    slug = re.sub(r"[^a-z0-9]+", "-", f"{parts.hostname or ''}{parts.path}".lower()).strip("-")
    return feeds / f"{slug[:60]}-{_sha256(url.encode())[:8]}"


def update_feed(
    url: str, feeds: Path, limit: int | None = None, on_progress: Progress | None = None
) -> FeedUpdate:
    """Return the transcripts of a feed's newest `limit` episodes that have one.

    New ones are downloaded, and the newest of the others are asked whether they have changed. What
    is there stays, also when the feed is down: then `fault` says so. Raise the SourceError of a
    feed that never gave anything.
    """
    folder = feed_folder(feeds, url)
    index = load_index(folder, url)
    update = FeedUpdate(source=_source(url, index.title))
    try:
        with open_client(url) as client:
            updater = _Updater(client=client, folder=folder, index=index, update=update)
            updater.run(limit, on_progress or (lambda done, total, title: None))
    except SourceError as fault:
        if not index.episodes:
            raise
        update.fault = fault
    paths = [folder / episode.file for episode in index.episodes.values()]
    update.files = [path for path in paths if path.is_file()]
    return update


@dataclass(slots=True, kw_only=True)
class _Updater:
    client: httpx.Client
    folder: Path
    index: FeedIndex
    update: FeedUpdate

    def run(self, limit: int | None, on_progress: Progress) -> None:
        """Read the feed, download what is new, and check what is there."""
        index = self.index
        known = set(index.episodes)
        answer = download(self.client, index.url, MAX_FEED_BYTES, self._conditions(limit))
        if not answer.unchanged:
            feed = parse_feed(answer.content, index.url)
            self.folder.mkdir(parents=True, exist_ok=True)
            index.title, index.complete, index.lacking = feed.title, False, []
            self.update.source = _source(index.url, feed.title)
            wanted, without = _newest(feed, limit)
            for n, episode in enumerate(wanted, start=1):
                on_progress(n, len(wanted), episode.title[:40])
                if not self._has(episode):
                    self._take(episode)
            for episode in without:
                self._lack(episode, "no_transcript", "the feed names no transcript")
            # Only where nothing is to be tried again may the server answer "nothing has changed".
            index.complete = all(lack["rule"] == "no_transcript" for lack in index.lacking)
            index.etag, index.last_modified = answer.etag, answer.last_modified
            index.limit = limit
            save_index(self.folder, index)
        self._check(known, _NEWEST if limit is None else limit)
        self.update.verdicts = [_verdict(self.update.source, lack) for lack in index.lacking]

    def _conditions(self, limit: int | None) -> dict[str, str]:
        """Return the headers of a conditional request, none where something is to be tried."""
        index = self.index
        files = [self.folder / episode.file for episode in index.episodes.values()]
        if index.complete and index.limit == limit and all(path.is_file() for path in files):
            return conditions(index.etag, index.last_modified)
        return {}

    def _has(self, episode: Episode) -> bool:
        """Tell whether an episode's transcript is there from an address that the feed still has."""
        known = self.index.episodes.get(episode.guid)
        if known is None or not (self.folder / known.file).is_file():
            return False
        return known.url in {offer.url for offer in episode.offers}

    def _take(self, episode: Episode) -> None:
        """Download an episode's best transcript: the first that names speakers, else the first."""
        faults: list[SourceError] = []
        best: tuple[Offer, Response] | None = None
        for offer in episode.offers:
            try:
                answer = download(self.client, offer.url, MAX_TRANSCRIPT_BYTES)
                has_speakers = self._has_speakers(answer.content, offer.url, offer.suffix)
            except SourceError as fault:
                faults.append(fault)
                continue
            if has_speakers or best is None:
                best = (offer, answer)
            if has_speakers:
                break
        if best is None:
            refused = any(isinstance(fault, PrivateAddress) for fault in faults)
            rule = PrivateAddress.rule if refused else "transcript_missing"
            self._lack(episode, rule, "; ".join(fault.what for fault in faults))
        else:
            self._put(episode, *best)

    def _put(self, episode: Episode, offer: Offer, answer: Response) -> None:
        """Write a transcript, in the place of an older one of the same episode."""
        file = _file_name(episode, offer.suffix)
        old = self.index.episodes.get(episode.guid)
        write_file(answer.content, self.folder / file)
        if old is not None and old.file != file:
            (self.folder / old.file).unlink(missing_ok=True)
        self.index.episodes[episode.guid] = IndexedEpisode(
            guid=episode.guid,
            url=offer.url,
            file=file,
            title=episode.title,
            published=episode.published,
            sha256=_sha256(answer.content),
            etag=answer.etag,
            last_modified=answer.last_modified,
        )
        save_index(self.folder, self.index)
        self.update.n_new += 1

    def _lack(self, episode: Episode, rule: str, reason: str) -> None:
        day = episode.published.isoformat() if episode.published else ""
        reason = f"{episode.title[:120]!r} {day}: {reason}"
        self.index.lacking.append({"guid": episode.guid, "rule": rule, "reason": reason})

    def _has_speakers(self, content: bytes, url: str, suffix: str) -> bool:
        """Tell whether a transcript names anybody; raise SourceUnreadable for what is none."""
        refusal = SourceUnreadable(
            f"{url!r} is not a transcript with times or speakers", "check what it contains"
        )
        path = self.folder / f".trial{suffix}"
        write_file(content, path)
        try:
            known = format_of(path)
            if known is None or known.kind != "podcast":
                raise refusal
            source = read_source(SourceRef(path=path, format=known.name), datetime.now(UTC))
            rows = extract(source, ExtractSettings())
        except SourceError as fault:
            raise refusal from fault
        finally:
            path.unlink(missing_ok=True)
        return any(block.speaker for block in rows.blocks)

    def _check(self, guids: set[str], limit: int) -> None:
        """Replace those of the newest `limit` transcripts that have changed at their address.

        Only episodes in `guids` are checked. One that cannot be downloaded now, or whose address
        no longer holds a transcript, such as a server's page of repair, keeps what it has.
        """
        episodes = self.index.episodes.values()
        newest = sorted(episodes, key=lambda e: e.published or date.min, reverse=True)[:limit]
        for episode in newest:
            path = self.folder / episode.file
            if episode.guid not in guids or not path.is_file():
                continue
            sha256 = episode.sha256 or _sha256(path.read_bytes())
            headers = conditions(episode.etag, episode.last_modified)
            try:
                answer = download(
                    self.client, episode.url, MAX_TRANSCRIPT_BYTES, headers, attempts=1
                )
                changed = not answer.unchanged and _sha256(answer.content) != sha256
                if changed:
                    self._has_speakers(answer.content, episode.url, path.suffix)
            except SourceError:
                continue
            if changed:
                write_file(answer.content, path)
                self.update.n_changed += 1
            if not answer.unchanged:
                self.index.episodes[episode.guid] = replace(
                    episode,
                    sha256=_sha256(answer.content),
                    etag=answer.etag,
                    last_modified=answer.last_modified,
                )
                save_index(self.folder, self.index)


def _newest(feed: Feed, limit: int | None) -> tuple[list[Episode], list[Episode]]:
    """Return the newest episodes with a transcript, and those without one among them."""
    wanted: list[Episode] = []
    without: list[Episode] = []
    for episode in feed.episodes:
        if limit is not None and len(wanted) >= limit:
            break
        (wanted if episode.offers else without).append(episode)
    return wanted, without


def _file_name(episode: Episode, suffix: str) -> str:
    title = re.sub(r"[^\w]+", "-", episode.title).strip("-")[:60]
    day = episode.published.isoformat() if episode.published else "undated"
    return f"{day}-{title or 'episode'}-{_sha256(episode.guid.encode())[:6]}{suffix}"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _verdict(source: Source, lack: dict[str, str]) -> Verdict:
    return Verdict(
        subject_id=content_id(source.id, lack["guid"]),
        subject="documents",
        rule=lack["rule"],
        keep=False,
        reason=lack["reason"],
        created_at=datetime.now(UTC),
        next_step=_NEXT_STEPS.get(lack["rule"], "nothing"),
    )


def _source(url: str, title: str | None) -> Source:
    return Source(
        id=content_id("feed", url),
        kind="podcast",
        format="feed",
        location=url,
        sha256="",
        added_at=datetime.now(UTC),
        title=title or url,
    )


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
    if root is None or _tag(root) not in {"rss", "feed", "RDF"}:
        raise SourceUnreadable(
            f"{url!r} is not an RSS or Atom feed", "give the address of the podcast's feed itself"
        )
    channel = next((element for element in root.iter() if _tag(element) == "channel"), root)
    lang = _text(channel, "language") or root.get("{http://www.w3.org/XML/1998/namespace}lang")
    entries = [element for element in root.iter() if _tag(element) in {"item", "entry"}]
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
    link = next((el.get("href") or el.text for el in entry if _tag(el) == "link"), None)
    return Episode(
        guid=_text(entry, "guid", "id") or (link or title).strip(),
        title=title,
        published=_date(_text(entry, "pubDate", "published", "updated", "date")),
        offers=tuple(sorted(offers, key=lambda offer: (is_other_language(offer), offer.rank))),
    )


def _language(code: str | None) -> str:
    return (code or "").split("-")[0].casefold()


def _offer(element: etree._Element, base: str) -> Offer | None:
    if _tag(element) != "transcript" or not element.get("url"):
        return None
    url = urljoin(base, str(element.get("url")).strip())
    if urlsplit(url).scheme not in {"http", "https"}:
        return None
    media_type = str(element.get("type") or "").split(";")[0].strip().casefold()
    path = urlsplit(url).path
    suffix = path[path.rfind(".") :].casefold() if "." in path else ""
    rank, suffix = _RANKS.get(media_type) or _SUFFIXES.get(suffix) or _RANKS["text/plain"]
    return Offer(url=url, suffix=suffix, rank=rank, lang=element.get("language"))


def _tag(element: etree._Element) -> str:
    # Comments and processing instructions have functions for tags.
    return etree.QName(element).localname if isinstance(element.tag, str) else ""


def _text(element: etree._Element, *names: str) -> str | None:
    """Return the text of the first child with one of the names, in their order, that has any."""
    for name in names:
        for child in element:
            if _tag(child) == name and (text := " ".join("".join(child.itertext()).split())):
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
