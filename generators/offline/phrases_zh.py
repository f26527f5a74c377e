"""The key phrases of a Chinese passage, found by how characters stick together in the batch."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from memoirist.generators.offline.phrases import Lists, Phrase
from memoirist.generators.offline.templates import TemplateSet

_RUN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fffA-Z]+")
_LENGTHS = (4, 3, 2)
_MIN_COHESION = 2.0


class ChinesePhrases:
    """Find key phrases, knowing from the whole batch which characters stick together."""

    def __init__(self, texts: Iterable[str], lists: Lists) -> None:
        """Count the n-grams of 1-4 characters, with the neighbours of each."""
        self._lists = lists
        self._passages = 0
        self._characters = 0
        self._document: Counter[str] = Counter()
        self._total: Counter[str] = Counter()
        self._nouns: Counter[str] = Counter()
        self._verbs: Counter[str] = Counter()
        self._before: defaultdict[str, set[str]] = defaultdict(set)
        self._after: defaultdict[str, set[str]] = defaultdict(set)
        for text in texts:
            self._passages += 1
            seen: set[str] = set()
            for number, run in enumerate(_RUN.findall(text)):
                # A clause's edge counts as a neighbour of its own each time.
                self._read(f"\n{run}\n", f"{self._passages}.{number}", seen)
            self._document.update(seen)

    def _read(self, run: str, edge: str, seen: set[str]) -> None:
        lists = self._lists
        self._characters += len(run) - 2
        for length in (1, *_LENGTHS):
            for start in range(1, len(run) - length):
                gram = run[start : start + length]
                self._total[gram] += 1
                seen.add(gram)
                before, after = run[start - 1], run[start + length]
                if length > 1:
                    self._nouns[gram] += (before in lists["noun_before"]) + (
                        after in lists["noun_after"]
                    )
                    self._verbs[gram] += (before in lists["verb_before"]) + (
                        after in lists["verb_after"]
                    )
                self._before[gram].add(edge if before == "\n" else before)
                self._after[gram].add(edge if after == "\n" else after)

    def find(self, text: str) -> list[Phrase]:
        """Return the passage's phrases, best first; a part of a longer one is left out."""
        function = self._lists["function"]
        found: list[Phrase] = []
        for gram, count in Counter(_grams(text)).items():
            if any(character in function for character in gram.removeprefix("阿")):
                continue
            if gram in self._lists["dull"] or not self._is_word(gram):
                continue
            rarity = math.log(1 + (self._passages + 1) / (self._document[gram] + 2))
            score = (0.5 + min(count, 5)) * rarity * (1 + 0.25 * (len(gram) - 2))
            nouns, verbs = self._nouns[gram], self._verbs[gram]
            if nouns <= verbs:
                continue
            score *= (nouns + 0.5) / (nouns + 2 * verbs + 1)
            if count == 1 and self._total[gram] < 4:
                score *= 0.5  # met once: more often a turn of phrase than a subject
            found.append(Phrase(text=gram, kind=self._kind(gram), score=score))
        found.sort(key=lambda phrase: (-phrase.score, phrase.text))
        return [
            phrase
            for place, phrase in enumerate(found)
            if not any(
                phrase.text in other.text or other.text in phrase.text for other in found[:place]
            )
        ]

    def _is_word(self, gram: str) -> bool:
        """Tell a word by its neighbours, which vary, and by its parts, which do not stand alone."""
        if self._total[gram] < 2 or min(len(self._before[gram]), len(self._after[gram])) < 2:
            return False
        size = self._characters
        return all(
            math.log(self._total[gram] * size / (self._total[gram[:cut]] * self._total[gram[cut:]]))
            >= _MIN_COHESION
            for cut in range(1, len(gram))
        )

    def _kind(self, gram: str) -> str:
        if gram[-1] in self._lists["person_ends"] or gram.startswith("阿"):
            return "person"
        return "place" if gram[-1] in self._lists["place_ends"] else "name"


def _grams(text: str) -> Iterator[str]:
    for run in _RUN.findall(text):
        for length in _LENGTHS:
            for start in range(len(run) - length + 1):
                yield run[start : start + length]


def is_traditional(text: str, lists: TemplateSet) -> bool:
    """Tell whether the text is written in traditional characters rather than simplified ones."""
    pairs = [pair for pair in lists.words["traditional"] if pair[0] != pair[1]]
    simplified = sum(text.count(pair[0]) for pair in pairs if pair[0] not in "后里于并")
    return sum(text.count(pair[1]) for pair in pairs) > simplified


def to_traditional(text: str, lists: TemplateSet) -> str:
    """Write a template in traditional characters."""
    return text.translate({ord(pair[0]): pair[1] for pair in lists.words["traditional"]})
