"""Read JSON as models write it: strictly where that works, else forgiving its usual faults.

Forgiven are single and curly quotes, quotes within a string, keys without any, commas too many,
comments, Python's True, False and None, and brackets that were never closed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_MOST_STARTS = 1_000
_MOST_LOOSE_STARTS = 20
_MOST_CHARS = 20_000
_DEEPEST = 12
_GAP = re.compile(r"(?:\s|//[^\n]*|#[^\n]*|/\*.*?\*/)*", re.DOTALL)
# A quote closes a string when what follows goes on with JSON: so an apostrophe does not.
_CLOSERS = {
    opening: re.compile(rf"{closing}(?=\s*(?:[,\]}}:]|$))")
    for opening, closing in (('"', '["”]'), ("'", "['’]"), ("“", '[”"]'), ("‘", "[’']"))
}
_BARE = re.compile(r"[^\s,:\[\]{}\"'“”‘’]+")
_ESCAPES = {"n": "\n", "t": "\t", "r": " ", "b": "", "f": ""}
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_WORDS = {"true": True, "false": False, "null": None, "none": None}


def strict_objects(text: str) -> Iterator[dict[str, Any]]:
    """Yield the outermost objects that are right JSON, in order."""
    decoder = json.JSONDecoder(strict=False)
    place = text.find("{")
    for _ in range(_MOST_STARTS):
        if place < 0:
            return
        try:
            value, end = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            end = place + 1
        else:
            if isinstance(value, dict):
                yield value
        place = text.find("{", end)


def loose_objects(text: str) -> Iterator[dict[str, Any]]:
    """Yield the outermost objects that can be read with forgiveness, in order."""
    text = text[-_MOST_CHARS:]
    place = text.find("{")
    for _ in range(_MOST_LOOSE_STARTS):
        if place < 0:
            return
        reader = _Reader(text, place)
        try:
            value = reader.value(0)
        except _Unreadable:
            reader.place = place + 1
        else:
            if isinstance(value, dict):
                yield value
        place = text.find("{", max(reader.place, place + 1))


class _Unreadable(Exception):
    """What stands here is no JSON, however it is read."""


@dataclass(slots=True)
class _Reader:
    text: str
    place: int

    def value(self, depth: int) -> Any:  # noqa: ANN401 - whatever JSON holds
        if depth > _DEEPEST:
            raise _Unreadable
        mark = self._next()
        if mark == "{":
            return self._dict(depth)
        if mark == "[":
            return self._list(depth)
        if mark in _CLOSERS:
            return self._string(mark)
        return self._bare()

    def _next(self) -> str:
        """Go behind white space and comments; return the character there, "" at the end."""
        gap = _GAP.match(self.text, self.place)
        self.place = gap.end() if gap else self.place
        return self.text[self.place : self.place + 1]

    def _dict(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        self.place += 1
        while (mark := self._next()) not in {"}", ""}:
            if mark == ",":
                self.place += 1
                continue
            key = self._string(mark) if mark in _CLOSERS else str(self._bare())
            if self._next() != ":":
                raise _Unreadable
            self.place += 1
            found[key] = self.value(depth + 1)
        self.place += 1
        return found

    def _list(self, depth: int) -> list[Any]:
        found: list[Any] = []
        self.place += 1
        while (mark := self._next()) not in {"]", ""}:
            if mark == "}":
                return found  # the bracket was forgotten, its owner goes on
            if mark == ",":
                self.place += 1
                continue
            found.append(self.value(depth + 1))
        self.place += 1
        return found

    def _string(self, mark: str) -> str:
        start = self.place + 1
        for closer in _CLOSERS[mark].finditer(self.text, start):
            escapes = len(self.text[start : closer.start()]) - len(
                self.text[start : closer.start()].rstrip("\\")
            )
            if escapes % 2 == 0:
                self.place = closer.end()
                return _ESCAPE.sub(_unescaped, self.text[start : closer.start()])
        raise _Unreadable

    def _bare(self) -> Any:  # noqa: ANN401 - a number, a word of JSON or of Python
        match = _BARE.match(self.text, self.place)
        if match is None:
            raise _Unreadable
        self.place = match.end()
        word = match.group()
        if word.lower() in _WORDS:
            return _WORDS[word.lower()]
        try:
            return float(word)
        except ValueError:
            return word


def _unescaped(match: re.Match[str]) -> str:
    code = match.group(1)
    if len(code) == 5:
        return chr(int(code[1:], 16))
    return _ESCAPES.get(code, code)
