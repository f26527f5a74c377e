"""The key phrases of a passage that a question may name without giving the answer away."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from memoirist.data.text.words import words

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
Match = tuple[str, str, int]  # text, kind, index of the first token


@dataclass(frozen=True, slots=True, kw_only=True)
class Phrase:
    """Words that a question may name; `kind` decides which templates they fit."""

    text: str
    kind: str
    score: float


def tokenize(text: str) -> list[str]:
    """Return words, numbers and marks in order; an underscore marks italics in plain-text books."""
    return _TOKEN.findall(text.replace("_", " "))


class Names:
    """Finds the names of people and places by word lists and by counts over the whole batch."""

    def __init__(self, lists: Lists) -> None:
        """Take the lists titles, speaks, before_places, articles, not_names and edges."""
        self._lists = lists
        self._places, self._people = Counter[str](), Counter[str]()
        self._articles, self._lower = Counter[str](), Counter[str]()

    def read(self, tokens: Sequence[str]) -> None:
        """Count the context of each name: places follow "in", people speak or have titles."""
        self._lower.update(word for word in tokens if word.islower())
        for start, end in self._runs(tokens):
            last, previous = tokens[end - 1], tokens[start - 1].lower()
            following = tokens[end].lower() if end < len(tokens) else "."
            name = _POSSESSIVE.sub("", last)
            is_place = previous in self._lists["before_places"]
            speaks = following in self._lists["speaks"] and not is_place
            if is_place and name == last:
                self._places[name] += 1
            if speaks or tokens[start].lower() in self._lists["titles"]:
                self._people[name] += 2
            self._articles[name] += 1 if previous in self._lists["articles"] else -1

    def find(self, tokens: Sequence[str]) -> Iterator[tuple[str, str, int]]:
        """Yield (name, person or place or name, index) for each complete name."""
        for start, end in self._runs(tokens):
            run = [word for word in tokens[start:end] if word != "."]
            run[-1] = _POSSESSIVE.sub("", run[-1])
            following = tokens[end].lower() if end < len(tokens) else "."
            if not self._is_name(run) or not self._ends(following):
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
        first, last = run[0].lower(), run[-1].lower()
        titles, not_names = self._lists["titles"], self._lists["not_names"]
        if len(run) > 4 or len(last) < 3 or last in not_names or last in titles:
            return False
        if first in titles:
            return True
        if first in not_names or len(first) == 1 or first.rstrip("s") in titles:
            return False
        return self._lower[last] == 0  # "Memory", "Temperance" are no names

    def _ends(self, following: str) -> bool:
        """Refuse "Hampton" before "students": the name is only half of the phrase."""
        listed = following in self._lists["edges"] or following in self._lists["speaks"]
        return listed or following in _ENDS_NAME or following.endswith("ed")

    def _kind(self, last: str) -> str:
        places, people = self._places[last], self._people[last]
        if places >= 2 and places > 4 * people and self._articles[last] < 0:
            return "place"
        return "person" if people >= 2 and people > 4 * places else "name"

    def _runs(self, tokens: Sequence[str]) -> Iterator[tuple[int, int]]:
        """Yield the spans of capitalised words that do not merely open a sentence."""
        index = 1
        titles = self._lists["titles"]
        while index < len(tokens):
            opens = tokens[index - 1] in _OPENS_SENTENCE and not self._abbreviates(tokens, index)
            if not tokens[index][0].isupper() or (opens and tokens[index].lower() not in titles):
                index += 1
                continue
            end = index
            while end < len(tokens) and self._continues(tokens, end):
                end += 1
            if end > index:
                yield index, end - (tokens[end - 1] == ".")
            index = max(end, index + 1)

    def _abbreviates(self, tokens: Sequence[str], index: int) -> bool:
        return index > 1 and tokens[index - 1] == "." and tokens[index - 2].lower() in _DOTTED

    def _continues(self, tokens: Sequence[str], index: int) -> bool:
        word = tokens[index]
        if word in self._lists["particles"]:  # "Madame de Warens"
            following = tokens[index + 1] if index + 1 < len(tokens) else ""
            return tokens[index - 1][0].isupper() and following[:1].isupper()
        if word == ".":
            previous = tokens[index - 1]
            return (len(previous) == 1 and previous != "I") or previous.lower() in _DOTTED
        initial = len(word) == 1 and word.isupper() and word != "I"
        return initial or (word[0].isupper() and word[1:].islower())


class Phrases:
    """Finds key phrases; the whole batch shows which words are rare and which are nouns."""

    def __init__(self, texts: Iterable[str], lists: Lists) -> None:
        """Count the words of all passages; without the list "determiners" only names are found."""
        self._lists = lists
        self._edges = lists["edges"] | _PUNCTUATION
        self._names = Names(lists)
        self._passages = 0
        self._document_frequency, self._total = Counter[str](), Counter[str]()
        self._noun = Counter[str]()
        self._with_article, self._without_article = Counter[str](), Counter[str]()
        for text in texts:
            self._read(tokenize(text))

    def _read(self, tokens: Sequence[str]) -> None:
        self._passages += 1
        lower = [token.lower() for token in tokens]
        self._document_frequency.update(set(lower))
        self._total.update(lower)
        self._names.read(tokens)
        for before, word, after in zip(lower, lower[1:], lower[2:], strict=False):
            if after not in self._edges:
                continue
            if before in self._lists["determiners"]:
                self._noun[word] += 1
            if before in self._lists["prepositions"]:
                self._without_article[word] += 1
        for index, token in enumerate(lower[:-3]):
            if token in {"a", "an"}:
                head = index + (1 if lower[index + 2] in self._edges else 2)
                self._with_article[lower[head]] += 1

    def find(self, text: str) -> list[Phrase]:
        """Return the passage's phrases, best first: names, possessions, topics, years."""
        tokens = tokenize(text)
        # "My" inside a quotation is somebody else's.
        own_tokens = tokenize(_QUOTED.sub(" ; ", text))
        tally = Counter(token.lower() for token in tokens)
        matches = list(self._names.find(tokens))
        if self._lists["determiners"]:
            matches += [*self._own(own_tokens), *self._general(tokens), *self._activities(tokens)]
        best: dict[str, Phrase] = {}
        for phrase, kind, start in matches:
            early = start < len(tokens) / 4
            score = self._score(phrase, kind, tally) * (1.25 if early else 1.0)
            other = best.get(phrase.lower())
            if score > 0 and (other is None or other.score < score):
                best[phrase.lower()] = Phrase(text=phrase, kind=kind, score=score)
        if self._lists["determiners"]:
            for year in _YEAR.findall(text):
                best[year] = Phrase(text=year, kind="year", score=2.5)
        return sorted(best.values(), key=lambda phrase: (-phrase.score, phrase.text))

    def _score(self, phrase: str, kind: str, tally: Counter[str]) -> float:
        """Return how much the passage is about the phrase: frequent here, rare elsewhere."""
        phrase_words = [word.strip(".").lower() for word in phrase.split()]
        head = phrase_words[-1]
        several = len(phrase_words) - (phrase_words[0] in {"your", "the"}) > 1
        rarity = math.log(1 + (self._passages + 1) / (self._document_frequency[head] + 2))
        score = (0.6 + min(tally[head], 4)) * min(rarity, 3.5) * _WEIGHTS[kind]
        if several:
            score *= 1.15
        if tally[head] == 1:
            if kind == "general" and not several:
                return 0.0  # "connection", used once: no passage is about it
            score *= 0.6 if kind in {"own", "general", "name"} else 0.8
        return score

    def _own(self, tokens: Sequence[str]) -> Iterator[Match]:
        """Yield "your first school" for "my first school": the possessions of the speaker."""
        for index, token in enumerate(tokens):
            if token.lower() not in {"my", "our"}:
                continue
            phrase_words = self._noun_phrase(tokens, index)
            if not phrase_words or phrase_words[0].endswith("ing"):
                continue
            if len(phrase_words) == 2 and phrase_words[0].lower() in self._lists["weak"]:
                phrase_words = phrase_words[1:]
            kind = "person" if phrase_words[-1] in self._lists["kin"] else "own"
            yield f"your {' '.join(phrase_words)}", kind, index

    def _general(self, tokens: Sequence[str]) -> Iterator[Match]:
        """Yield plurals and mass nouns without an article after a preposition: "of slavery"."""
        for index, token in enumerate(tokens):
            if token not in self._lists["prepositions"]:
                continue
            phrase_words = self._noun_phrase(tokens, index)
            if not phrase_words or not self._needs_no_article(phrase_words[-1]):
                continue
            if len(phrase_words) == 2 and phrase_words[0].lower() in self._lists["weak"]:
                continue
            if phrase_words[0].endswith(("ing", "ed")) and len(phrase_words) == 2:
                continue
            yield " ".join(phrase_words), "general", index

    def _activities(self, tokens: Sequence[str]) -> Iterator[Match]:
        """Yield "making bricks" for "of making bricks"."""
        lower = [token.lower() for token in tokens]
        prepositions = {"of", "by", "for", "in", "about", "without"}
        for index in range(1, len(lower) - 3):
            verb, noun, following = lower[index : index + 3]
            if not verb.endswith("ing") or len(verb) < 6 or verb in self._lists["not_doing"]:
                continue
            if lower[index - 1] not in prepositions or following not in self._edges:
                continue
            if self._is_phrase([noun]) and self._needs_no_article(noun):
                yield f"{verb} {noun}", "doing", index

    def _noun_phrase(self, tokens: Sequence[str], index: int) -> list[str]:
        """Return the one or two words after `index` that make a noun phrase, or nothing."""
        for length in (2, 1):
            head = index + length
            if head + 1 < len(tokens) and tokens[head + 1].lower() in self._edges:
                phrase_words = list(tokens[index + 1 : head + 1])
                if phrase_words[-1].islower() and self._is_phrase(
                    [word.lower() for word in phrase_words]
                ):
                    return phrase_words
        return []

    def _is_phrase(self, phrase_words: Sequence[str]) -> bool:
        """Return whether the words make a phrase: a noun last, no function or filler word."""
        if phrase_words[-1] in self._lists["dull"] or not self._is_noun(phrase_words[-1]):
            return False
        closed = self._lists["determiners"] | self._lists["prepositions"] | self._edges
        return all(
            len(word) > 2
            and word not in closed
            and not word.endswith("ly")
            and all(part.isalpha() for part in word.split("-"))
            for word in phrase_words
        )

    def _is_noun(self, word: str) -> bool:
        if len(word) < 3 or word.endswith(tuple(self._lists["not_noun_endings"])):
            return False
        if word.endswith(tuple(self._lists["noun_endings"])):
            return True
        return self._noun[word] >= 2 and self._noun[word] * 8 >= self._total[word]

    def _needs_no_article(self, head: str) -> bool:
        """Return whether a noun is used without an article: plurals and mass nouns are."""
        if head.endswith("s") and not head.endswith(("ss", "us", "is")):
            return True
        return self._without_article[head] >= max(2, 3 * self._with_article[head])


class ChinesePhrases:
    """Finds Chinese key phrases; the whole batch shows which characters form words."""

    def __init__(self, texts: Iterable[str], lists: Lists) -> None:
        """Count the n-grams of 1-4 characters, with the neighbours of each."""
        self._lists = lists
        self._passages = self._characters = 0
        self._document_frequency, self._total = Counter[str](), Counter[str]()
        self._nouns, self._verbs = Counter[str](), Counter[str]()
        self._before: defaultdict[str, set[str]] = defaultdict(set)
        self._after: defaultdict[str, set[str]] = defaultdict(set)
        for text in texts:
            self._passages += 1
            seen: set[str] = set()
            for number, run in enumerate(_CJK_RUN.findall(text)):
                # The edge of a clause counts as a new neighbour each time.
                self._read(f"\n{run}\n", f"{self._passages}.{number}", seen)
            self._document_frequency.update(seen)

    def _read(self, run: str, edge: str, seen: set[str]) -> None:
        lists = self._lists
        self._characters += len(run) - 2
        for length in (1, *_NGRAM_LENGTHS):
            for start in range(1, len(run) - length):
                gram = run[start : start + length]
                self._total[gram] += 1
                seen.add(gram)
                previous, following = run[start - 1], run[start + length]
                if length > 1:
                    self._nouns[gram] += (previous in lists["noun_before"]) + (
                        following in lists["noun_after"]
                    )
                    self._verbs[gram] += (previous in lists["verb_before"]) + (
                        following in lists["verb_after"]
                    )
                self._before[gram].add(edge if previous == "\n" else previous)
                self._after[gram].add(edge if following == "\n" else following)

    def find(self, text: str) -> list[Phrase]:
        """Return the passage's phrases, best first; a part of a longer one is left out."""
        function = self._lists["function"]
        phrases: list[Phrase] = []
        for gram, count in Counter(_grams(text)).items():
            if any(character in function for character in gram.removeprefix("阿")):
                continue
            if gram in self._lists["dull"] or not self._is_word(gram):
                continue
            rarity = math.log(1 + (self._passages + 1) / (self._document_frequency[gram] + 2))
            score = (0.5 + min(count, 5)) * rarity * (1 + 0.25 * (len(gram) - 2))
            nouns, verbs = self._nouns[gram], self._verbs[gram]
            if nouns <= verbs:
                continue
            score *= (nouns + 0.5) / (nouns + 2 * verbs + 1)
            if count == 1 and self._total[gram] < 4:
                score *= 0.5  # used once: more often an idiom than a topic
            phrases.append(Phrase(text=gram, kind=self._kind(gram), score=score))
        phrases.sort(key=lambda phrase: (-phrase.score, phrase.text))
        return [
            phrase
            for rank, phrase in enumerate(phrases)
            if not any(
                phrase.text in other.text or other.text in phrase.text for other in phrases[:rank]
            )
        ]

    def _is_word(self, gram: str) -> bool:
        """Return whether a gram is a word: its neighbours vary, its parts are rare alone."""
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


def shares_word(phrase: str, forbidden: frozenset[str]) -> bool:
    """Return whether the phrase contains one of the words, such as the persona's name."""
    return bool(set(words(phrase)) & forbidden)
