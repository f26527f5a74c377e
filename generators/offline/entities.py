"""The names in a passage: runs of capitals, sorted into people and places by their company."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

_OPENS_SENTENCE = frozenset(".!?:;“”\"'‘’—-()[]…*")
_PUNCTUATION = frozenset(".,;:!?”’)—")
_DOTTED = frozenset({"mr", "mrs", "dr", "rev", "prof", "st"})
_POSSESSIVE = re.compile(r"['’]s?$")


class Names:
    """Read names by the word lists of a language, with votes counted over the whole batch."""

    def __init__(self, lists: Mapping[str, frozenset[str]]) -> None:
        """Take the lists titles, speaks, before_places, articles, not_names and edges."""
        self._lists = lists
        self._places: Counter[str] = Counter()
        self._people: Counter[str] = Counter()
        self._articles: Counter[str] = Counter()
        self._lower: Counter[str] = Counter()

    def read(self, tokens: Sequence[str]) -> None:
        """Count what stands around each name: places follow "in", people speak or have titles."""
        self._lower.update(word for word in tokens if word.islower())
        for start, end in self._runs(tokens):
            last, before = tokens[end - 1], tokens[start - 1].lower()
            after = tokens[end].lower() if end < len(tokens) else "."
            owns = _POSSESSIVE.sub("", last)
            stands_in = before in self._lists["before_places"]
            speaks = after in self._lists["speaks"] and not stands_in
            if stands_in and owns == last:
                self._places[owns] += 1
            if speaks or tokens[start].lower() in self._lists["titles"]:
                self._people[owns] += 2
            self._articles[owns] += 1 if before in self._lists["articles"] else -1

    def find(self, tokens: Sequence[str]) -> Iterator[tuple[str, str, int]]:
        """Yield (name, person or place or name, position) for each name that stands whole."""
        for start, end in self._runs(tokens):
            run = [word for word in tokens[start:end] if word != "."]
            run[-1] = _POSSESSIVE.sub("", run[-1])
            after = tokens[end].lower() if end < len(tokens) else "."
            if not self._is_name(run) or not self._ends(after):
                continue
            titled = run[0].lower() in self._lists["titles"]
            kind = "person" if titled else self._kind(run[-1])
            if kind == "name" and "capital_nouns" in self._lists:
                continue  # German writes every noun with a capital
            text = " ".join(
                f"{word}." if word.lower() in _DOTTED or len(word) == 1 else word for word in run
            )
            if kind != "person" and self._articles[run[-1]] > 0:
                text = f"the {text}"
            yield text, kind, start

    def _is_name(self, run: Sequence[str]) -> bool:
        low = [word.lower() for word in run]
        titles, never = self._lists["titles"], self._lists["not_names"]
        if len(run) > 4 or len(low[-1]) < 3 or low[-1] in never or low[-1] in titles:
            return False
        if low[0] in titles:
            return True
        if low[0] in never or len(low[0]) == 1 or low[0].rstrip("s") in titles:
            return False
        return self._lower[low[-1]] == 0  # "Memory", "Temperance" are no names

    def _ends(self, after: str) -> bool:
        """Refuse "Hampton" before "students": the name is only half of the phrase."""
        known = after in self._lists["edges"] or after in self._lists["speaks"]
        return known or after in _PUNCTUATION or after.endswith("ed")

    def _kind(self, last: str) -> str:
        places, people = self._places[last], self._people[last]
        if places >= 2 and places > 4 * people and self._articles[last] < 0:
            return "place"
        return "person" if people >= 2 and people > 4 * places else "name"

    def _runs(self, tokens: Sequence[str]) -> Iterator[tuple[int, int]]:
        """Yield the spans of capitalised words that do not merely open a sentence."""
        place = 1
        titles = self._lists["titles"]
        while place < len(tokens):
            opens = tokens[place - 1] in _OPENS_SENTENCE and not self._abbreviates(tokens, place)
            if not tokens[place][0].isupper() or (opens and tokens[place].lower() not in titles):
                place += 1
                continue
            end = place
            while end < len(tokens) and self._continues(tokens, end):
                end += 1
            if end > place:
                yield place, end - (tokens[end - 1] == ".")
            place = max(end, place + 1)

    def _abbreviates(self, tokens: Sequence[str], place: int) -> bool:
        return place > 1 and tokens[place - 1] == "." and tokens[place - 2].lower() in _DOTTED

    def _continues(self, tokens: Sequence[str], place: int) -> bool:
        word = tokens[place]
        if word in self._lists["particles"]:  # "Madame de Warens"
            follows = tokens[place + 1] if place + 1 < len(tokens) else ""
            return tokens[place - 1][0].isupper() and follows[:1].isupper()
        if word == ".":
            before = tokens[place - 1]
            return (len(before) == 1 and before != "I") or before.lower() in _DOTTED
        initial = len(word) == 1 and word.isupper() and word != "I"
        return initial or (word[0].isupper() and word[1:].islower())
