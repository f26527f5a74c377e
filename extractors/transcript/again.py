"""Ask whether the transcripts on a shelf have changed where they came from."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from memoirist.data.schema.errors import SourceError
from memoirist.extractors.transcript.feeds.download import (
    MAX_TRANSCRIPT_BYTES,
    conditions,
    fetch,
    place,
)
from memoirist.extractors.transcript.feeds.feed_index import Shelf, Shelved, save_shelf
from memoirist.extractors.transcript.trial import names_speakers

if TYPE_CHECKING:
    import httpx


# Corrections come in an episode's first weeks: without a limit, only so many are asked again.
_NEWEST = 20


def ask_again(
    client: httpx.Client, folder: Path, shelf: Shelf, before: Collection[str], limit: int | None
) -> int:
    """Replace those of the newest `limit` transcripts that have changed; return how many did.

    Only episodes whose guid is in `before` are asked. One that cannot be fetched now, or whose
    address no longer holds a transcript, keeps what it has.
    """
    newest = sorted(shelf.episodes.values(), key=lambda e: e.published or date.min, reverse=True)
    n_changed = 0
    for episode in newest[: _NEWEST if limit is None else limit]:
        path = folder / episode.file
        if episode.guid not in before or not path.is_file():
            continue
        held = episode.sha256 or hashlib.sha256(path.read_bytes()).hexdigest()
        asked = _asked(client, folder, episode, held)
        if asked is None:
            continue
        known, content = asked
        if known.sha256 != held:
            place(content, path)
            n_changed += 1
        if known != episode:
            shelf.episodes[episode.guid] = known
            save_shelf(folder, shelf)
    return n_changed


def _asked(
    client: httpx.Client, folder: Path, episode: Shelved, held: str
) -> tuple[Shelved, bytes] | None:
    """Return an episode with the marks of its server's answer, and what it holds; None for no news.

    An answer without a transcript in it, such as the page of a server under repair, is no news.
    """
    marks = conditions(episode.etag, episode.last_modified)
    try:
        answer = fetch(client, episode.url, MAX_TRANSCRIPT_BYTES, marks, attempts=1)
        if answer.unchanged:
            return None
        sha256 = hashlib.sha256(answer.content).hexdigest()
        if sha256 != held:
            names_speakers(answer.content, episode.url, Path(episode.file).suffix, folder)
    except SourceError:
        return None
    known = replace(episode, sha256=sha256, etag=answer.etag, last_modified=answer.last_modified)
    return known, answer.content
