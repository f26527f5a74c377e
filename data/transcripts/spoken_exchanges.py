"""Find the exchanges of a talk: what is asked, what only interrupts an answer, what is small talk.

The rules come from 200 labelled pairs of 14 episodes; tests/benchmarks/spoken_pairs.py measures
them. Of 130 random pairs 79 are good, of which 77 stay; 26 of 33 that only interrupt are joined (26
of 29 joins are right); 11 of 18 bad ones are dropped or asked otherwise (11 of 12 are right).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path
from types import MappingProxyType

from memoirist.data.passages.borders import size
from memoirist.data.passages.settings import PassageSettings
from memoirist.data.schema.records import Block, Fault
from memoirist.data.text.language_detection import detect_language
from memoirist.data.text.language_rules import phrase_pattern
from memoirist.data.text.words import (
    content_stems,
    ends_sentence,
    is_cjk,
    join_sentences,
    sentences,
    stop_words,
    words,
)

_ASKS = re.compile(r"[?？]")
_phrases = partial(phrase_pattern, Path(__file__).with_name("phrases.txt"))
_BACKCHANNEL_WORDS = 4
_BACKCHANNEL_CHARACTERS = 6
# How far before the answer its question may stand, in words and in speakers.
_REACH_WORDS = 120
_REACH_SPEAKERS = 3
_COURTESY_WORDS = 40
# A transcript in which more turns begin in lower case, or end without a mark, is written that way.
_STYLE_SHARE = 0.25
# A transcript in which fewer turns of others have a question mark does not mark its questions.
_ASKING_SHARE = 0.05
_LOWER = re.compile(r"[\s\"'“„«‘(\[¿¡.…]*([^\W\d_])")


@dataclass(slots=True)
class Exchange:
    """The turns of others, and the persona's turns that answer them.

    `asides` are the turns of others over which the answer goes on, `replies` the few words that the
    persona says to them.
    """

    questions: list[Block] = field(default_factory=list)
    answers: list[Block] = field(default_factory=list)
    asides: list[Block] = field(default_factory=list)
    replies: list[Block] = field(default_factory=list)


def is_backchannel(text: str) -> bool:
    """Tell whether a turn only shows attention: up to four words, all from the backchannel list."""
    tokens = words(text)
    limit = _BACKCHANNEL_CHARACTERS if is_cjk(text) else _BACKCHANNEL_WORDS
    return 0 < len(tokens) <= limit and stop_words("backchannel").issuperset(tokens)


def joined(blocks: Iterable[Block]) -> str:
    """Return the texts of turns as paragraphs."""
    return "\n\n".join(block.text for block in blocks)


def begins_lower(text: str) -> bool:
    """Tell whether the first letter of a text is a small one."""
    first = _LOWER.match(text)
    return first is not None and first.group(1).islower()


class Talk:
    """The rules for one talk: how it is written, and which words stand everywhere in it.

    `keys` are the recipe's keys of limits that another kind of talk has of its own.
    """

    keys: Mapping[str, str] = MappingProxyType({})

    def __init__(
        self, turns: Sequence[Block], persona: str, lang: str | None, settings: PassageSettings
    ) -> None:
        """Measure the turns of everybody, backchannels left out.

        `lang` is the talk's language, by default found in its text.
        """
        self.turns = turns
        self.persona = persona
        self.lang = lang or detect_language(joined(turns))
        self.settings = settings
        self.name_words = {word for word in words(persona) if len(word) > 1}
        limit = _STYLE_SHARE * len(turns)
        self.has_capitals = sum(begins_lower(turn.text) for turn in turns) <= limit
        self.has_marks = sum(not ends_sentence(turn.text) for turn in turns) <= limit
        others = [turn.text for turn in turns if turn.speaker != persona]
        asking = sum(_ASKS.search(text) is not None for text in others)
        self.marks_questions = asking >= _ASKING_SHARE * len(others)

    def is_question(self, text: str) -> bool:
        """Tell whether a text of others asks or invites; any may where questions are not marked."""
        if not self.marks_questions or _ASKS.search(text):
            return True
        return _phrases("invitation").search(text) is not None

    def exchanges(self) -> list[Exchange]:
        """Return the exchanges in order, asides joined to the answer that they interrupt.

        So the question of an answer that began with a word or two reaches the rest of it.
        """
        result: list[Exchange] = []
        for exchange in self._alternations():
            before = result[-1] if result else None
            if (
                before is None
                or self._is_farewell(exchange)
                or not self._is_aside(before, exchange)
            ):
                result.append(exchange)
                continue
            before.asides += exchange.questions
            if self._is_reply(before, exchange):
                before.replies += exchange.answers
            else:
                before.answers += exchange.answers
        return result

    def _alternations(self) -> Iterator[Exchange]:
        current = Exchange()
        for turn in self.turns:
            answers = turn.speaker == self.persona
            goes_on = answers and current.answers and self._is_same(current.answers[-1], turn)
            if current.answers and not goes_on:
                yield current
                current = Exchange()
            (current.answers if answers else current.questions).append(turn)
        if current.answers:
            yield current

    def _is_same(self, before: Block, turn: Block) -> bool:
        """Tell whether two turns of the persona belong to one answer."""
        return before.chapter == turn.chapter

    def _is_farewell(self, exchange: Exchange) -> bool:
        """Tell whether the speakers only greet, thank each other or say goodbye."""
        answer = joined(exchange.answers)
        return self._is_courtesy(joined(exchange.questions), answer, size(answer))

    def _is_aside(self, before: Exchange, exchange: Exchange) -> bool:
        """Tell whether the turns of others neither ask nor tell anything that is answered."""
        if not exchange.questions or before.answers[-1].chapter != exchange.answers[0].chapter:
            return False
        settings, text = self.settings, joined(exchange.questions)
        n_words = size(text)
        if self.is_question(text):
            # "when you're with this kind of different perspective?" breaks into a sentence.
            breaks_in = self._begins_inside(text) and self._is_open(before.answers[-1].text)
            return n_words < (
                settings.min_comment_words if breaks_in else settings.min_question_words
            )
        inside = self._goes_on(before, exchange) or self._is_open(text)
        return n_words < settings.min_comment_words or (
            inside and n_words <= settings.max_interruption_words
        )

    def _is_reply(self, before: Exchange, exchange: Exchange) -> bool:
        """Tell whether the persona only says a word to an aside, and no sentence goes on."""
        n_words = size(joined(exchange.answers))
        return n_words < self.settings.min_spoken_words and not self._goes_on(before, exchange)

    def _goes_on(self, before: Exchange, exchange: Exchange) -> bool:
        """Tell whether an answer ends or the next begins inside a sentence."""
        last, first = before.answers[-1].text, exchange.answers[0].text
        return self._begins_inside(first) or self._is_open(last)

    def _begins_inside(self, text: str) -> bool:
        return self.has_capitals and begins_lower(text)

    def _is_open(self, text: str) -> bool:
        return self.has_marks and not ends_sentence(text)

    def select_question(self, turns: Sequence[Block]) -> tuple[str | None, list[Block]]:
        """Return the question that the turns before an answer ask, and the turns that hold it.

        It is the last speaker's text, or an earlier one's if the later ones only make asides of at
        most `max_aside_words` together. A text of more than `max_question_words` is cut to its last
        question, or to its last sentences; the result is None where nobody asks or tells anything.
        """
        speeches = [
            list(run) for _, run in groupby(turns, key=lambda turn: turn.speaker or turn.id)
        ]
        skipped = 0
        for speech in reversed(speeches[-_REACH_SPEAKERS - 1 :]):
            text = joined(speech)
            if self._asks(text):
                question = _shortened(text, self.settings.max_question_words) or ""
                asking = [b for b in speech if any(s in question for s in sentences(b.text))]
                return question or None, asking
            skipped += size(text)
            if skipped > self.settings.max_aside_words:
                break
        return None, []

    def _asks(self, text: str) -> bool:
        """Tell whether a text can be a prompt: it asks, names the persona or says something."""
        n_words = size(text)
        if n_words < self.settings.min_question_words:
            return False
        if n_words >= self.settings.min_comment_words or self.is_question(text):
            return True
        return not self.name_words.isdisjoint(word.partition("'")[0] for word in words(text))

    def reject(self, question: str | None, answer: str) -> Fault | None:
        """Return why an answer to a question, or to none, is not learnt; None for a good one."""
        settings, n_words = self.settings, size(answer)
        if (fault := self.says_little(question, answer)) is not None:
            return fault
        if question is None or not self.is_question(question):
            if n_words < settings.min_reply_words:
                return self.fault("short_reply", n_words, settings.min_reply_words)
            if n_words < settings.min_untied_words and not self._takes_up(question or "", answer):
                return self.fault("not_taken_up", n_words, settings.min_untied_words)
        asks_back = answer.rstrip().endswith(("?", "？")) and not _phrases("tag").search(answer)
        if asks_back and n_words < settings.min_untied_words:
            return self.fault("asks_back", n_words, settings.min_untied_words)
        return None

    def says_little(self, question: str | None, answer: str) -> Fault | None:
        """Return the fault of an answer that is too short or only a courtesy."""
        if (fault := self.short(answer)) is not None:
            return fault
        n_words = size(answer)
        is_courtesy = self._is_courtesy(question or "", answer, n_words)
        return self.fault("courtesy", n_words) if is_courtesy else None

    def short(self, answer: str) -> Fault | None:
        """Return why an answer is too short, None for a longer one."""
        limit = self.settings.min_spoken_words
        n_words = size(answer)
        return self.fault("short_answer", n_words, limit) if n_words < limit else None

    def fault(self, rule: str, n_words: int, limit: int = 0) -> Fault:
        """Return the fault of an answer of `n_words` by one of the rules."""
        if rule == "courtesy":
            reason = f"a greeting, thanks or a goodbye (word count {n_words})"
            step = "set passages.cut_courtesies = false in the recipe to keep it"
        else:
            reason, key = _REASONS[rule]
            reason = reason.format(n=n_words, limit=limit)
            step = f"lower passages.{self.keys.get(key, key)} in the recipe to keep it"
        return Fault(rule, reason, step, float(n_words))

    def _is_courtesy(self, question: str, answer: str, n_words: int) -> bool:
        if not self.settings.cut_courtesies or n_words >= _COURTESY_WORDS:
            return False
        if n_words < self.settings.min_reply_words and _phrases("greeting").search(question):
            return True
        thanks = _phrases("thanks")
        only_thanks = thanks.match(question) and not self.is_question(question)
        return bool(
            (only_thanks and size(question) < self.settings.min_comment_words)
            or _phrases("courtesy").search(question)
            or thanks.match(answer)
        )

    def _takes_up(self, question: str, answer: str) -> bool:
        """Tell whether the answer has a content word of the question."""
        return bool(self._stems(question) & self._stems(answer))

    def _stems(self, text: str) -> set[str]:
        fillers = stop_words("backchannel") | stop_words("fillers")
        return content_stems([word for word in words(text) if word not in fillers], self.lang)


_REASONS = {
    "short_answer": ("too short: word count {n}, below {limit}", "min_spoken_words"),
    "short_reply": (
        "too short in reply to a turn that asks nothing: word count {n}, below {limit}",
        "min_reply_words",
    ),
    "not_taken_up": (
        "it takes up nothing of the turn before: word count {n}, below {limit}",
        "min_untied_words",
    ),
    "unasked": ("nobody asked for it: word count {n}, below {limit}", "min_unasked_words"),
    "asks_back": ("it asks a question itself: word count {n}, below {limit}", "min_untied_words"),
}


def _shortened(text: str, limit: int) -> str | None:
    if size(text) <= limit:
        return text
    parts = sentences(text)
    at = next((n for n in reversed(range(len(parts))) if _ASKS.search(parts[n])), None)
    if at is None or size(join_sentences(parts[at + 1 :])) > _REACH_WORDS:
        at = len(parts) - 1
    last = len(parts) if size(join_sentences(parts[at:])) <= limit else at + 1
    first = at
    while first > 0 and size(join_sentences(parts[first - 1 : last])) <= limit:
        first -= 1
    question = join_sentences(parts[first:last])
    return question if size(question) <= limit else None
