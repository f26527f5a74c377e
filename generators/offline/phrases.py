"""The key phrases of a passage that a question may name without telling the answer."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from memoirist.data.text.words import words
from memoirist.generators.offline.entities import Names

_TOKEN = re.compile(r"[^\W\d_]+(?:['’\-][^\W\d_]+)*|\d+|[^\w\s]")
_PUNCTUATION = frozenset(".,;:!?”)—")
_QUOTED = re.compile(r"“[^”]{0,2000}”|\"[^\"]{0,2000}\"")
_YEAR = re.compile(r"\b1[5-9]\d\d\b|\b20[0-2]\d\b")
_WEIGHTS = {"person": 1.35, "place": 1.2, "name": 1.0, "own": 1.2, "general": 1.1, "doing": 1.2}
Lists = Mapping[str, frozenset[str]]
Found = tuple[str, str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Phrase:
    """Words that a question may name; `kind` decides which templates they fit."""

    text: str
    kind: str
    score: float


def tokenize(text: str) -> list[str]:
    """Return words, numbers and marks in order; an underscore is italics in plain-text books."""
    return _TOKEN.findall(text.replace("_", " "))


class Phrases:
    """Find key phrases, knowing from the whole batch which words are rare and which are nouns."""

    def __init__(self, texts: Iterable[str], lists: Lists) -> None:
        """Read every passage once; without the list "determiners" only names are found."""
        self._lists = lists
        self._edges = lists["edges"] | _PUNCTUATION
        self._names = Names(lists)
        self._passages = 0
        self._document: Counter[str] = Counter()
        self._total: Counter[str] = Counter()
        self._noun: Counter[str] = Counter()
        self._counted: Counter[str] = Counter()
        self._bare: Counter[str] = Counter()
        for text in texts:
            self._read(tokenize(text))

    def _read(self, tokens: Sequence[str]) -> None:
        self._passages += 1
        low = [token.lower() for token in tokens]
        self._document.update(set(low))
        self._total.update(low)
        self._names.read(tokens)
        for before, word, after in zip(low, low[1:], low[2:], strict=False):
            if after not in self._edges:
                continue
            if before in self._lists["determiners"]:
                self._noun[word] += 1
            if before in self._lists["prepositions"]:
                self._bare[word] += 1
        for place, token in enumerate(low[:-3]):
            if token in {"a", "an"}:
                head = place + (1 if low[place + 2] in self._edges else 2)
                self._counted[low[head]] += 1

    def find(self, text: str) -> list[Phrase]:
        """Return the passage's phrases, best first: names, own things, subjects, doings, years."""
        tokens = tokenize(text)
        # "My" inside a quotation is somebody else's.
        voice = tokenize(_QUOTED.sub(" ; ", text))
        tally = Counter(token.lower() for token in tokens)
        found = list(self._names.find(tokens))
        if self._lists["determiners"]:
            found += [*self._own(voice), *self._general(tokens), *self._doings(tokens)]
        best: dict[str, Phrase] = {}
        for phrase, kind, start in found:
            early = start < len(tokens) / 4
            score = self._score(phrase, kind, tally) * (1.25 if early else 1.0)
            known = best.get(phrase.lower())
            if score > 0 and (known is None or known.score < score):
                best[phrase.lower()] = Phrase(text=phrase, kind=kind, score=score)
        if self._lists["determiners"]:
            for year in _YEAR.findall(text):
                best[year] = Phrase(text=year, kind="year", score=2.5)
        return sorted(best.values(), key=lambda phrase: (-phrase.score, phrase.text))

    def _score(self, phrase: str, kind: str, tally: Counter[str]) -> float:
        """Return how much the passage is about the phrase: how often here, how seldom elsewhere."""
        inner = [word.strip(".").lower() for word in phrase.split()]
        head, several = inner[-1], len(inner) - (inner[0] in {"your", "the"}) > 1
        rarity = math.log(1 + (self._passages + 1) / (self._document[head] + 2))
        score = (0.6 + min(tally[head], 4)) * min(rarity, 3.5) * _WEIGHTS[kind]
        if several:
            score *= 1.15
        if tally[head] == 1:
            if kind == "general" and not several:
                return 0.0  # "connection", met once: no passage is about it
            score *= 0.6 if kind in {"own", "general", "name"} else 0.8
        return score

    def _own(self, tokens: Sequence[str]) -> Iterator[Found]:
        """Yield "your first school" for "my first school": what the speaker calls their own."""
        for place, token in enumerate(tokens):
            if token.lower() not in {"my", "our"}:
                continue
            inner = self._inner(tokens, place)
            if not inner or inner[0].endswith("ing"):
                continue
            if len(inner) == 2 and inner[0].lower() in self._lists["weak"]:
                inner = inner[1:]
            kind = "person" if inner[-1] in self._lists["kin"] else "own"
            yield f"your {' '.join(inner)}", kind, place

    def _general(self, tokens: Sequence[str]) -> Iterator[Found]:
        """Yield bare plurals and mass nouns behind a preposition: "of slavery", "for books"."""
        for place, token in enumerate(tokens):
            if token not in self._lists["prepositions"]:
                continue
            inner = self._inner(tokens, place)
            if not inner or not self._stands_bare(inner[-1]):
                continue
            if len(inner) == 2 and inner[0].lower() in self._lists["weak"]:
                continue
            if inner[0].endswith(("ing", "ed")) and len(inner) == 2:
                continue
            yield " ".join(inner), "general", place

    def _doings(self, tokens: Sequence[str]) -> Iterator[Found]:
        """Yield "making bricks" for "of making bricks": what somebody does."""
        low = [token.lower() for token in tokens]
        before = {"of", "by", "for", "in", "about", "without"}
        for place in range(1, len(low) - 3):
            doing, noun, after = low[place : place + 3]
            if not doing.endswith("ing") or len(doing) < 6 or doing in self._lists["not_doing"]:
                continue
            if low[place - 1] not in before or after not in self._edges:
                continue
            if self._plain([noun]) and self._stands_bare(noun):
                yield f"{doing} {noun}", "doing", place

    def _inner(self, tokens: Sequence[str], place: int) -> list[str]:
        """Return the one or two words behind `place` that make a noun phrase, or nothing."""
        for length in (2, 1):
            head = place + length
            if head + 1 < len(tokens) and tokens[head + 1].lower() in self._edges:
                inner = list(tokens[place + 1 : head + 1])
                if inner[-1].islower() and self._plain([word.lower() for word in inner]):
                    return inner
        return []

    def _plain(self, inner: Sequence[str]) -> bool:
        """Tell whether the words make a phrase: a noun last, no function word, nothing dull."""
        if inner[-1] in self._lists["dull"] or not self._is_noun(inner[-1]):
            return False
        closed = self._lists["determiners"] | self._lists["prepositions"] | self._edges
        return all(
            len(word) > 2
            and word not in closed
            and not word.endswith("ly")
            and all(part.isalpha() for part in word.split("-"))
            for word in inner
        )

    def _is_noun(self, word: str) -> bool:
        if len(word) < 3 or word.endswith(tuple(self._lists["not_noun_endings"])):
            return False
        if word.endswith(tuple(self._lists["noun_endings"])):
            return True
        return self._noun[word] >= 2 and self._noun[word] * 8 >= self._total[word]

    def _stands_bare(self, head: str) -> bool:
        """Tell a plural or a mass noun from one that wants an article: "an audience" does."""
        if head.endswith("s") and not head.endswith(("ss", "us", "is")):
            return True
        return self._bare[head] >= max(2, 3 * self._counted[head])


def shares_word(phrase: str, barred: frozenset[str]) -> bool:
    """Tell whether the phrase names somebody it must not name, such as the persona."""
    return bool(set(words(phrase)) & barred)
