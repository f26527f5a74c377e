"""Split transcripts: the persona's turns are answers, the others' are asked."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from memoirist.data.passages.segmentation import PassageSettings, size
from memoirist.data.schema.records import (
    Block,
    Document,
    Passage,
    Question,
    Rows,
    Verdict,
    content_id,
)
from memoirist.data.text.words import count_words, is_cjk, sentences, stop_words, words

_ASKS = re.compile(r"[?？]")
# An invitation asks without a mark; the same verbs as in the rejects of generated questions.
_INVITES = re.compile(
    r"\b(?:tell (?:me|us)|describe|explain|walk (?:me|us)|talk (?:about|to|us|me)|take (?:me|us)"
    r"|share|erz[aä]hl\w*|beschreib\w*|racont\w*|parle[zr]?|cu[eé]nt\w*|h[aá]bl\w*)\b|[请請]|谈谈|談談"
    r"|说说|說說|讲讲|講講",
    re.IGNORECASE,
)
_BACKCHANNEL_WORDS = 4
_BACKCHANNEL_CHARACTERS = 6
# How far before the answer a question may stand, in words and in turns, to be what was asked.
_REACH_WORDS = 120
_REACH_TURNS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A piece of an answer; seconds inside a turn that is cut are told by its characters."""

    text: str
    blocks: tuple[Block, ...]
    start_seconds: float | None
    end_seconds: float | None


def is_backchannel(text: str) -> bool:
    """Tell whether a turn only says "go on": up to four words, each of them a listener's."""
    found = words(text)
    most = _BACKCHANNEL_CHARACTERS if is_cjk(text) else _BACKCHANNEL_WORDS
    return 0 < len(found) <= most and stop_words("backchannel").issuperset(found)


def asks(text: str) -> bool:
    """Tell whether a turn asks or invites."""
    return _ASKS.search(text) is not None or _INVITES.search(text) is not None


def question_of(
    turns: Sequence[Block], settings: PassageSettings
) -> tuple[str | None, list[Block]]:
    """Return what was asked by the turns before an answer, and the turns that hold it.

    It is what the last speaker said; where he asks nothing and somebody shortly before him does,
    it is that one's. A turn beyond `max_question_words` is cut to its last question, or to its
    last sentences; None where even these are too long.
    """
    if not turns:
        return None, []
    chosen = _trailing(turns)
    if not asks(_joined_turns(chosen)):
        for n in range(len(turns) - len(chosen), max(0, len(turns) - _REACH_TURNS - 1), -1):
            if asks(turns[n - 1].text):
                chosen = [turns[n - 1]]
                break
    text = _joined_turns(chosen)
    bounded = _bounded(text, settings.max_question_words)
    if bounded is None:
        return None, []
    return bounded, [b for b in chosen if any(s in bounded for s in sentences(b.text))]


def _trailing(turns: Sequence[Block]) -> list[Block]:
    """Return the last speaker's turns in a row; a nameless one stands alone."""
    first = len(turns) - 1
    while first > 0 and turns[first].speaker and turns[first - 1].speaker == turns[first].speaker:
        first -= 1
    return list(turns[first:])


def _bounded(text: str, limit: int) -> str | None:
    if size(text) <= limit:
        return text
    found = sentences(text)
    at = next((n for n in range(len(found) - 1, -1, -1) if _ASKS.search(found[n])), None)
    if at is None or size(_rejoined(found[at + 1 :])) > _REACH_WORDS:
        at = len(found) - 1
    last = len(found) if size(_rejoined(found[at:])) <= limit else at + 1
    first = at
    while first > 0 and size(_rejoined(found[first - 1 : last])) <= limit:
        first -= 1
    bounded = _rejoined(found[first:last])
    return bounded if size(bounded) <= limit else None


def unpunctuated(block: Block, settings: PassageSettings) -> bool:
    """Tell whether a turn has a stretch without a sentence's end that is too long for a passage."""
    if size(block.text) <= settings.max_words:
        return False
    return any(size(sentence) > settings.max_words for sentence in sentences(block.text))


def parts(turns: Sequence[Block], settings: PassageSettings) -> list[Part]:
    """Cut a monologue at sentence ends, at paragraphs where it can be, into parts of one size.

    What fits `max_words` stays whole; else the parts aim at `soft_max_words`.
    """
    total = sum(size(block.text) for block in turns)
    if total <= settings.max_words:
        return [_part([(block, block.text, 0) for block in turns])]
    target = total / -(-total // settings.soft_max_words)
    found: list[list[tuple[Block, str, int]]] = [[]]
    n_words = 0
    for piece in _pieces(turns, settings.max_words):
        weight = size(piece[1])
        if found[-1] and n_words + weight > settings.max_words:
            found.append([])
            n_words = 0
        found[-1].append(piece)
        n_words += weight
        if n_words >= target or (n_words >= 0.75 * target and piece[1].endswith("\n\n")):
            found.append([])
            n_words = 0
    if not found[-1]:
        found.pop()
    _join_tail(found, settings)
    return [_part(pieces) for pieces in found]


def _join_tail(found: list[list[tuple[Block, str, int]]], settings: PassageSettings) -> None:
    if len(found) < 2:
        return
    tail, before = (sum(size(text) for _, text, _ in pieces) for pieces in (found[-1], found[-2]))
    if tail < settings.min_words and tail + before <= settings.max_words:
        found[-2] += found.pop()


def _pieces(turns: Sequence[Block], limit: int) -> Iterator[tuple[Block, str, int]]:
    """Give (turn, sentence with the white space behind it, its first character)."""
    for block in turns:
        at = 0
        found = [s for part in block.text.split("\n\n") for s in sentences(part)]
        for n, sentence in enumerate(found):
            start = block.text.find(sentence, at)
            if start < 0:  # a sentence across a line break: it is taken as it was rejoined
                start = at
            at = start + len(sentence)
            gap = re.match(r"\s*", block.text[at:])
            space = gap.group() if gap else ""
            yield block, sentence + ("\n\n" if n == len(found) - 1 else space), start


def _part(pieces: Sequence[tuple[Block, str, int]]) -> Part:
    blocks = list(dict.fromkeys(block.id for block, _, _ in pieces))
    by_id = {block.id: block for block, _, _ in pieces}
    whole = all(text == block.text for block, text, _ in pieces)
    text = ("\n\n" if whole else "").join(text for _, text, _ in pieces).strip()
    (first, _, start), (last, tail, at) = pieces[0], pieces[-1]
    return Part(
        text=text,
        blocks=tuple(by_id[each] for each in blocks),
        start_seconds=_second(first, start),
        end_seconds=_second(last, at + len(tail.rstrip())),
    )


def _second(block: Block, at: int) -> float | None:
    """Return when a character of a turn was spoken, as if all took the same time."""
    start, end = block.start_seconds, block.end_seconds
    if at <= 0 or start is None:
        return start
    if end is None or at >= len(block.text):
        return end
    return round(start + (end - start) * at / len(block.text), 3)


def _rejoined(found: Sequence[str]) -> str:
    return ("" if found and is_cjk(found[0]) else " ").join(found)


def _joined_turns(blocks: Sequence[Block]) -> str:
    return "\n\n".join(block.text for block in blocks)


_NOTHING = "nothing: it is not the persona's own answer"
_SHORTER = "lower passages.min_spoken_words in the recipe to keep it"
_UNSPOKEN = {
    "heading": "a heading of the transcript; nobody said it",
    "boilerplate": "a stage direction, a jingle or the head of the transcript: nobody's speech",
}


@dataclass(slots=True)
class _Exchange:
    """What the others said, and the persona's turns that answer it."""

    asked: list[Block] = field(default_factory=list)
    answered: list[Block] = field(default_factory=list)
    follows: bool = False


def split_turns(
    document: Document,
    blocks: Sequence[Block],
    persona: str,
    settings: PassageSettings,
    now: datetime,
) -> Rows:
    """Return an episode's passages, the questions really asked, and a verdict for the rest."""
    rows = _Builder(document, now)
    turns = [block for block in blocks if block.kind == "turn"]
    heard = [block for block in turns if is_backchannel(block.text)]
    rows.drop(heard, "backchannel", "it only says that somebody listens")
    folded = {block.id for block in heard}
    for exchange in _exchanges([b for b in turns if b.id not in folded], persona):
        question, asked = question_of(exchange.asked, settings)
        answered = [block for block in exchange.answered if not unpunctuated(block, settings)]
        rows.drop(
            [block for block in exchange.answered if block not in answered],
            "unpunctuated",
            f"more than {settings.max_words} words without a sentence's end",
            "give a transcript with punctuation",
        )
        for part in parts(answered, settings) if answered else ():
            if size(part.text) < settings.min_spoken_words:
                reason = f"fewer than {settings.min_spoken_words} words"
                unused = [block for block in part.blocks if block.id not in rows.used]
                rows.drop(unused, "short_answer", reason, _SHORTER)
            else:
                rows.add(part, question, asked, follows=exchange.follows)
                exchange.follows, question = True, None
    rows.drop_unused(blocks)
    return rows.finish()


def _exchanges(turns: Sequence[Block], persona: str) -> Iterator[_Exchange]:
    current = _Exchange()
    for turn in turns:
        if turn.speaker == persona:
            if current.answered and current.answered[-1].chapter != turn.chapter:
                yield current
                current = _Exchange(follows=True)
            current.answered.append(turn)
            continue
        if current.answered:
            yield current
            current = _Exchange(follows=True)
        current.asked.append(turn)
    if current.answered:
        yield current


class _Builder:
    """Collects the rows of one document of turns."""

    def __init__(self, document: Document, now: datetime) -> None:
        self.document = document
        self.now = now
        self.passages: list[Passage] = []
        self.questions: list[Question] = []
        self.verdicts: list[Verdict] = []
        self.used: set[str] = set()
        self.seen: Counter[str] = Counter()
        self.thread = 0

    def add(
        self, answer: Part, question: str | None, asked: Sequence[Block], *, follows: bool
    ) -> None:
        """Add one exchange; an answer without a question before it is asked about later."""
        self.thread += not follows
        context = self.passages[-1].text.split("\n\n")[-1] if self.passages else None
        passage = Passage(
            id=content_id(self.document.id, answer.text, self.seen[answer.text]),
            source_id=self.document.source_id,
            document_id=self.document.id,
            ord=len(self.passages),
            group_id=self.document.id,
            text=answer.text,
            n_words=count_words(answer.text),
            block_ids=tuple(block.id for block in answer.blocks),
            start_seconds=answer.start_seconds,
            end_seconds=answer.end_seconds,
            speaker=answer.blocks[0].speaker,
            chapter=answer.blocks[0].chapter,
            context=context if follows else None,
            thread_id=content_id(self.document.id, "thread", self.thread),
        )
        self.seen[answer.text] += 1
        self.passages.append(passage)
        self.used.update(passage.block_ids)
        if question:
            self._ask(passage, question, asked)

    def _ask(self, passage: Passage, text: str, asked: Sequence[Block]) -> None:
        self.questions.append(
            Question(
                id=content_id(passage.id, text),
                passage_id=passage.id,
                text=text,
                type="real",
                origin="spoken",
            )
        )
        reason = "another's words; they are the question of an answer"
        if text != _joined(asked):
            reason = f"another's words; the last {count_words(text)} are the question of an answer"
        self.drop(asked, "question", reason)

    def drop(
        self, blocks: Sequence[Block], rule: str, reason: str, next_step: str = _NOTHING
    ) -> None:
        """Drop blocks by a rule."""
        for block in blocks:
            self.verdicts.append(
                Verdict(
                    subject_id=block.id,
                    subject="blocks",
                    rule=rule,
                    keep=False,
                    reason=reason,
                    created_at=self.now,
                    next_step=next_step,
                )
            )

    def drop_unused(self, blocks: Sequence[Block]) -> None:
        """Give every block that is in no passage and has no verdict the one that says so."""
        judged = {verdict.subject_id for verdict in self.verdicts} | self.used
        for block in blocks:
            if block.id not in judged:
                rule = block.kind if block.kind in _UNSPOKEN else "other_speaker"
                self.drop([block], rule, _UNSPOKEN.get(rule, "said by another, and not asked"))

    def finish(self) -> Rows:
        """Return what was collected."""
        return Rows(passages=self.passages, questions=self.questions, verdicts=self.verdicts)


def _joined(blocks: Sequence[Block]) -> str:
    return "\n\n".join(block.text for block in blocks)
