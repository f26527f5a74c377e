"""Take a feed's transcripts: newest first, the best format of each, and only what is new."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from memoirist.data.schema.errors import SourceError
from memoirist.data.schema.records import Source, Verdict, content_id
from memoirist.extractors.transcript.again import ask_again
from memoirist.extractors.transcript.feeds.download import (
    MAX_FEED_BYTES,
    MAX_TRANSCRIPT_BYTES,
    Fetched,
    conditions,
    fetch,
    opened,
    place,
)
from memoirist.extractors.transcript.feeds.feed_index import Shelf, Shelved, load_shelf, save_shelf
from memoirist.extractors.transcript.feeds.feed_parser import Episode, Feed, Offered, parse_feed
from memoirist.extractors.transcript.trial import names_speakers

if TYPE_CHECKING:
    import httpx


Progress = Callable[[int, int, str], None]


@dataclass(slots=True, kw_only=True)
class Taken:
    """What a look at a feed gave: its files, old and new, its own row, and what it lacks."""

    source: Source
    files: list[Path] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    n_new: int = 0
    n_changed: int = 0
    fault: SourceError | None = None


def shelf_of(feeds: Path, url: str) -> Path:
    """Return the folder of a feed's transcripts inside the workspace's folder for feeds."""
    parts = urlsplit(url)
    slug = re.sub(r"[^a-z0-9]+", "-", f"{parts.hostname or ''}{parts.path}".lower()).strip("-")
    return feeds / f"{slug[:60]}-{hashlib.sha256(url.encode()).hexdigest()[:8]}"


def take_feed(
    url: str, feeds: Path, limit: int | None = None, on_progress: Progress | None = None
) -> Taken:
    """Return the transcripts of a feed's newest `limit` episodes that have one.

    Those not yet on the shelf are downloaded, and the newest of the others are asked whether they
    have changed; what stands there stays, also when the feed is down: then `fault` says so. Raise
    the SourceError of a feed that never gave anything.
    """
    folder = shelf_of(feeds, url)
    shelf = load_shelf(folder, url)
    taken = Taken(source=_source(url, shelf.title))
    try:
        with opened() as client:
            visit = _Visit(client=client, folder=folder, shelf=shelf, taken=taken)
            visit.look(limit, on_progress or _unheard)
    except SourceError as fault:
        if not shelf.episodes:
            raise
        taken.fault = fault
    taken.files = [folder / each.file for each in shelf.episodes.values()]
    taken.files = [path for path in taken.files if path.is_file()]
    return taken


def _unheard(done: int, total: int, told: str) -> None:
    """Take progress that nobody watches."""


@dataclass(slots=True, kw_only=True)
class _Visit:
    """One look at a feed."""

    client: httpx.Client
    folder: Path
    shelf: Shelf
    taken: Taken

    def look(self, limit: int | None, on_progress: Progress) -> None:
        """Read the feed and put what is new on the shelf."""
        shelf, taken = self.shelf, self.taken
        before = set(shelf.episodes)
        answer = fetch(
            self.client, shelf.url, MAX_FEED_BYTES, _conditions(shelf, self.folder, limit)
        )
        if not answer.unchanged:
            feed = parse_feed(answer.content, shelf.url)
            self.folder.mkdir(parents=True, exist_ok=True)
            shelf.title, shelf.complete, shelf.lacking = feed.title, False, []
            taken.source = _source(shelf.url, feed.title)
            wanted, without = _chosen(feed, limit)
            for n, episode in enumerate(wanted, start=1):
                on_progress(n, len(wanted), episode.title[:40])
                if not _has(shelf, episode, self.folder):
                    self.take(episode)
            shelf.lacking += [
                _lack(each, "no_transcript", "the feed names none") for each in without
            ]
            # Only a shelf with nothing to try again may be told "nothing has changed".
            shelf.complete = all(each["rule"] == "no_transcript" for each in shelf.lacking)
            shelf.etag, shelf.last_modified = answer.etag, answer.last_modified
            shelf.limit = limit
            save_shelf(self.folder, shelf)
        taken.n_changed = ask_again(self.client, self.folder, shelf, before, limit)
        taken.verdicts = [_missed(taken.source, each) for each in shelf.lacking]

    def take(self, episode: Episode) -> None:
        """Download an episode's best transcript: the first that names speakers, else the first."""
        faults: list[str] = []
        best: tuple[Offered, Fetched] | None = None
        for offered in episode.offered:
            try:
                answer = fetch(self.client, offered.url, MAX_TRANSCRIPT_BYTES)
                named = names_speakers(answer.content, offered.url, offered.suffix, self.folder)
            except SourceError as fault:
                faults.append(fault.what)
                continue
            if named or best is None:
                best = (offered, answer)
            if named:
                break
        if best is None:
            self.shelf.lacking.append(_lack(episode, "transcript_missing", "; ".join(faults)))
        else:
            self.put(episode, *best)

    def put(self, episode: Episode, offered: Offered, answer: Fetched) -> None:
        """Put a transcript on the shelf, in the place of an older one of the same episode."""
        file = _file_name(episode, offered.suffix)
        old = self.shelf.episodes.get(episode.guid)
        place(answer.content, self.folder / file)
        if old is not None and old.file != file:
            (self.folder / old.file).unlink(missing_ok=True)
        self.shelf.episodes[episode.guid] = Shelved(
            guid=episode.guid,
            url=offered.url,
            file=file,
            title=episode.title,
            published=episode.published,
            sha256=hashlib.sha256(answer.content).hexdigest(),
            etag=answer.etag,
            last_modified=answer.last_modified,
        )
        save_shelf(self.folder, self.shelf)
        self.taken.n_new += 1


def _conditions(shelf: Shelf, folder: Path, limit: int | None) -> dict[str, str]:
    """Return the headers that ask for news alone, where nothing else is open."""
    whole = all((folder / each.file).is_file() for each in shelf.episodes.values())
    if not shelf.complete or shelf.limit != limit or not whole:
        return {}
    return conditions(shelf.etag, shelf.last_modified)


def _chosen(feed: Feed, limit: int | None) -> tuple[list[Episode], list[Episode]]:
    """Return the newest episodes with a transcript, and those without one among them."""
    wanted: list[Episode] = []
    without: list[Episode] = []
    for episode in feed.episodes:
        if limit is not None and len(wanted) >= limit:
            break
        (wanted if episode.offered else without).append(episode)
    return wanted, without


def _has(shelf: Shelf, episode: Episode, folder: Path) -> bool:
    """Tell whether an episode stands on the shelf from an address that its feed still names."""
    known = shelf.episodes.get(episode.guid)
    if known is None or not (folder / known.file).is_file():
        return False
    return known.url in {each.url for each in episode.offered}


def _file_name(episode: Episode, suffix: str) -> str:
    title = re.sub(r"[^\w]+", "-", episode.title, flags=re.UNICODE).strip("-")[:60]
    day = episode.published.isoformat() if episode.published else "undated"
    mark = hashlib.sha256(episode.guid.encode()).hexdigest()[:6]
    return f"{day}-{title or 'episode'}-{mark}{suffix}"


def _lack(episode: Episode, rule: str, reason: str) -> dict[str, str]:
    told = episode.published.isoformat() if episode.published else ""
    return {
        "guid": episode.guid,
        "rule": rule,
        "reason": f"{episode.title[:120]!r} {told}: {reason}",
    }


def _missed(source: Source, lacking: dict[str, str]) -> Verdict:
    steps = {
        "no_transcript": "transcribe it yourself, and name the file as a source",
        "transcript_missing": "nothing: the next refresh tries again",
    }
    return Verdict(
        subject_id=content_id(source.id, lacking["guid"]),
        subject="documents",
        rule=lacking["rule"],
        keep=False,
        reason=lacking["reason"],
        created_at=datetime.now(UTC),
        next_step=steps.get(lacking["rule"], "nothing"),
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
