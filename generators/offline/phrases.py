"""The key phrases of a passage that a question may name without telling the answer."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from memoirist.data.text.words import words
from memoirist.generators.offline.templates import TemplateSet

_TOKEN = re.compile(r"[^\W\d_]+(?:['’\-][^\W\d_]+)*|\d+|[^\w\s]")
_PUNCTUATION = frozenset(".,;:!?”)—")
_QUOTED = re.compile(r"“[^”]{0,2000}”|\"[^\"]{0,2000}\"")
_OPENS_SENTENCE = frozenset(".!?:;“”\"'‘’—-()[]…*")
_ENDS_NAME = frozenset(".,;:!?”’)—")
_DOTTED = frozenset({"mr", "mrs", "dr", "rev", "prof", "st"})
_POSSESSIVE = re.compile(r"['’]s?$")
_YEAR = re.compile(r"\b1[5-9]\d\d\b|\b20[0-2]\d\b")
_WEIGHTS = {"person": 1.35, "place": 1.2, "name": 1.0, "own": 1.2, "general": 1.1, "doing": 1.2}
_CJK_RUN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fffA-Z]+")
_NGRAM_LENGTHS = (4, 3, 2)
_MIN_COHESION = 2.0
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


class Names:
    """Read names by the word lists of a language, with votes counted over the whole batch."""

    def __init__(self, lists: Lists) -> None:
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
        return known or after in _ENDS_NAME or after.endswith("ed")

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
            for number, run in enumerate(_CJK_RUN.findall(text)):
                # A clause's edge counts as a neighbour of its own each time.
                self._read(f"\n{run}\n", f"{self._passages}.{number}", seen)
            self._document.update(seen)

    def _read(self, run: str, edge: str, seen: set[str]) -> None:
        lists = self._lists
        self._characters += len(run) - 2
        for length in (1, *_NGRAM_LENGTHS):
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
    for run in _CJK_RUN.findall(text):
        for length in _NGRAM_LENGTHS:
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


def shares_word(phrase: str, barred: frozenset[str]) -> bool:
    """Tell whether the phrase names somebody it must not name, such as the persona."""
    return bool(set(words(phrase)) & barred)
