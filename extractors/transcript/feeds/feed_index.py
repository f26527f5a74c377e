"""Keep the index of a feed's folder: which episodes have a transcript there, and from where."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from memoirist.data.atomic_write import write_file

_INDEX = "feed.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedEpisode:
    """One episode whose transcript is downloaded; `file` lies in the feed's folder.

    `sha256`, `etag` and `last_modified` belong to what was downloaded, and tell whether it has
    changed.
    """

    guid: str
    url: str
    file: str
    title: str
    published: date | None = None
    sha256: str | None = None
    etag: str | None = None
    last_modified: str | None = None


@dataclass(slots=True, kw_only=True)
class FeedIndex:
    """What a feed has given so far, with the server's marks of its last answer.

    `lacking` has guid, rule and reason of the episodes without a transcript; `complete` tells
    that there is nothing to try again.
    """

    url: str
    title: str | None = None
    etag: str | None = None
    last_modified: str | None = None
    limit: int | None = None
    complete: bool = False
    lacking: list[dict[str, str]] = field(default_factory=list)
    episodes: dict[str, IndexedEpisode] = field(default_factory=dict)


def load_index(folder: Path, url: str) -> FeedIndex:
    """Return the index of a folder; an empty one where there is none, or none that can be read."""
    try:
        values = json.loads((folder / _INDEX).read_text("utf-8"))
        episodes = {row["guid"]: _episode(row) for row in values.pop("episodes")}
        return FeedIndex(**{**values, "url": url, "episodes": episodes})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return FeedIndex(url=url)


def _episode(row: dict[str, Any]) -> IndexedEpisode:
    published = row.get("published")
    return IndexedEpisode(
        **{**row, "published": date.fromisoformat(published) if published else None}
    )


def save_index(folder: Path, index: FeedIndex) -> None:
    """Write the index under a temporary name and rename it, so that it is whole or as before."""
    values = asdict(index)
    values["episodes"] = list(values["episodes"].values())
    text = json.dumps(values, ensure_ascii=False, indent=1, default=date.isoformat)
    write_file(text.encode(), folder / _INDEX)


def episode_at(path: Path) -> IndexedEpisode | None:
    """Return the episode whose transcript a file is, None for a file that no feed gave."""
    if not (path.parent / _INDEX).is_file():
        return None
    index = load_index(path.parent, "")
    return next((episode for episode in index.episodes.values() if episode.file == path.name), None)
