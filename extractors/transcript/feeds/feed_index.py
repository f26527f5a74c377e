"""The shelf of a feed: the folder of its transcripts, and the list of what stands there."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

LIST = "feed.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelved:
    """One episode whose transcript was downloaded; `file` lies in the shelf's folder.

    `sha256` and the server's marks are of what was downloaded, and tell whether it has changed.
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
class Shelf:
    """What a feed has given so far, with the marks by which it is asked for news.

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
    episodes: dict[str, Shelved] = field(default_factory=dict)


def load_shelf(folder: Path, url: str) -> Shelf:
    """Return the list of a folder; an empty one where there is none, or none that can be read."""
    try:
        values = json.loads((folder / LIST).read_text("utf-8"))
        episodes = {each["guid"]: _shelved(each) for each in values.pop("episodes")}
        return Shelf(**{**values, "url": url, "episodes": episodes})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Shelf(url=url)


def save_shelf(folder: Path, shelf: Shelf) -> None:
    """Write the list under a temporary name and rename it, so that it is whole or as before."""
    values: dict[str, Any] = asdict(shelf)
    values["episodes"] = [
        {**asdict(each), "published": each.published and each.published.isoformat()}
        for each in shelf.episodes.values()
    ]
    partial = folder / f".{LIST}.{os.getpid()}.partial"
    partial.write_text(json.dumps(values, ensure_ascii=False, indent=1), "utf-8")
    partial.replace(folder / LIST)


def episode_at(path: Path) -> Shelved | None:
    """Return the episode whose transcript a file is, None for a file that no feed gave."""
    if not (path.parent / LIST).is_file():
        return None
    shelf = load_shelf(path.parent, "")
    return next((each for each in shelf.episodes.values() if each.file == path.name), None)


def _shelved(values: dict[str, Any]) -> Shelved:
    told = values.get("published")
    return Shelved(**{**values, "published": date.fromisoformat(told) if told else None})
