"""The journal of a run: each reply on disk as it arrives, until the store has it.

The store takes replies by the batch. A process that is killed in between leaves its journal, and
the next one reads it: what was answered is not asked again.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from datetime import datetime
from operator import attrgetter
from pathlib import Path
from typing import Any

from memoirist.data.schema.records import Request
from memoirist.data.store.store import Store

_NAMES = tuple(field.name for field in fields(Request))
_values_of = attrgetter(*_NAMES)
_PATTERN = "replies-*.jsonl"


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{value!r} is no part of a request")


_JSON = json.JSONEncoder(default=_plain)


class Journal:
    """Files in one workspace's folder; a file goes once the store holds all of its replies."""

    def __init__(self, folder: Path) -> None:
        """Begin a file when the first reply comes."""
        self._folder = folder
        self._number = 0
        self._open: int | None = None
        self._home: dict[str | None, int] = {}  # by key
        self._left: Counter[int] = Counter()

    def note(self, request: Request) -> None:
        """Write a reply down; it survives the process from here on."""
        if self._open is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            self._open = os.open(self._path(self._number), flags, 0o600)
        row = dict(zip(_NAMES, _values_of(request), strict=True))
        os.write(self._open, f"{_JSON.encode(row)}\n".encode())
        before = self._home.get(request.key)
        self._home[request.key] = self._number
        self._left[self._number] += 1
        if before is not None:
            self._left[before] -= 1  # a reply before a repair, noted as if it could be used

    def turn(self) -> None:
        """Begin a new file, as the replies so far go to the store."""
        if self._open is not None:
            os.close(self._open)
            self._open = None
            self._number += 1

    def stored(self, requests: Iterable[Request]) -> None:
        """Forget what the store holds by now."""
        for request in requests:
            number = self._home.pop(request.key, None)
            if number is None:
                continue
            self._left[number] -= 1
            if not self._left[number] and number != self._number:
                self._path(number).unlink(missing_ok=True)

    def close(self) -> None:
        """End the last file; one stays that holds a reply which never got as far as the store."""
        self.turn()
        for number in range(self._number):
            if not self._left[number]:
                self._path(number).unlink(missing_ok=True)

    def _path(self, number: int) -> Path:
        return self._folder / f"replies-{os.getpid()}-{number}.jsonl"


def recover(store: Store, folder: Path) -> int:
    """Put into the store what killed processes left behind; return how many replies it was.

    Their questions are judged when they are chosen among. A line that was cut off is left out.
    """
    paths = sorted(folder.glob(_PATTERN))
    if not paths:
        return 0
    found = [request for path in paths for request in _read(path)]
    with store.writing() as tx:
        known = {key for (key,) in tx.fetch("SELECT id FROM requests")}
        fresh = [each for each in found if each.id not in known and _is_whole(each)]
        tx.upsert(fresh)
    for path in paths:
        path.unlink(missing_ok=True)
    return len(fresh)


def _is_whole(request: Request) -> bool:
    """Tell whether a reply can be used: it was noted before anybody had looked at it."""
    if request.status != "ok":
        return True
    return not isinstance(_read_reply(request.purpose, request.reply or ""), str)


def _read_reply(purpose: str, text: str) -> object:
    """Read a reply as whoever asked for it does: a text says what is wrong with it."""
    from memoirist.generators.judge import read_grades
    from memoirist.generators.polish import read_mended
    from memoirist.generators.replies import parse_reply

    readers: dict[str, Callable[[str], object]] = {"judge": read_grades, "polish": read_mended}
    return readers.get(purpose, parse_reply)(text)


def _read(path: Path) -> Iterator[Request]:
    for line in path.read_bytes().splitlines():
        try:
            row: dict[str, Any] = json.loads(line)
            row["created_at"] = datetime.fromisoformat(row["created_at"])
            yield Request(**{**row, "judged": None})
        except (ValueError, TypeError, KeyError):
            continue
