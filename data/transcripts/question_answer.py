"""Split the turns of a transcript into exchanges: the persona's answers and what was asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from memoirist.data.passages.borders import size
from memoirist.data.passages.settings import PassageSettings
from memoirist.data.schema.records import (
    Block,
    Document,
    Fault,
    Passage,
    Question,
    Rows,
    Verdict,
    content_id,
)
from memoirist.data.text.words import (
    count_words,
    ends_sentence,
    sentence_spans,
    sentences,
)
from memoirist.data.transcripts.chat_exchanges import ChatTalk
from memoirist.data.transcripts.spoken_exchanges import (
    Talk,
    begins_lower,
    is_backchannel,
    joined,
)

# A turn, one of its sentences with the white space after it, the index of its first character.
_Piece = tuple[Block, str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerPart:
    """A part of an answer; the times inside a turn are interpolated by characters."""

    text: str
    blocks: tuple[Block, ...]
    start_seconds: float | None
    end_seconds: float | None


def _has_long_sentence(block: Block, settings: PassageSettings) -> bool:
    """Tell whether a sentence of the turn is too long for a passage."""
    if size(block.text) <= settings.max_words:
        return False
    return any(size(sentence) > settings.max_words for sentence in sentences(block.text))


def split_answer(turns: Sequence[Block], settings: PassageSettings) -> list[AnswerPart]:
    """Cut an answer at sentence ends, preferably at paragraphs, into parts of similar size.

    An answer within `max_words` stays whole; else the parts aim at `soft_max_words`.
    """
    total = sum(size(block.text) for block in turns)
    if total <= settings.max_words:
        return [_part([(block, block.text, 0) for block in turns])]
    target = total / -(-total // settings.soft_max_words)
    groups: list[list[_Piece]] = [[]]
    n_words = 0
    for piece in _pieces(turns):
        piece_words = size(piece[1])
        if groups[-1] and n_words + piece_words > settings.max_words:
            groups.append([])
            n_words = 0
        groups[-1].append(piece)
        n_words += piece_words
        if n_words >= target or (n_words >= 0.75 * target and piece[1].endswith("\n\n")):
            groups.append([])
            n_words = 0
    if not groups[-1]:
        groups.pop()
    return [_part(pieces) for pieces in _without_short_groups(groups, settings)]


def _without_short_groups(
    groups: Sequence[list[_Piece]], settings: PassageSettings
) -> list[list[_Piece]]:
    """Join a short tail to the group before it, and any that is too short to a neighbour."""
    groups = list(groups)
    ending = [piece for group in groups[-2:] for piece in group]
    if _size(groups[-1]) < settings.min_words and _size(ending) <= settings.max_words:
        groups[-2:] = [ending]
    for place in reversed(range(len(groups))):
        if _size(groups[place]) >= settings.min_spoken_words:
            continue
        for first in (place - 1, place):
            pair = groups[first : first + 2] if first >= 0 else []
            if len(pair) == 2 and (parted := _parted(pair[0] + pair[1], settings)):
                groups[first : first + 2] = parted
                break
    return groups


def _parted(pieces: list[_Piece], settings: PassageSettings) -> list[list[_Piece]]:
    """Return the pieces as one group or two of similar size, none where they fit into neither."""
    if _size(pieces) <= settings.max_words:
        return [pieces]
    best: list[list[_Piece]] = []
    least = float(settings.max_words)
    for place in range(1, len(pieces)):
        halves = [pieces[:place], pieces[place:]]
        smaller, larger = sorted(map(_size, halves))
        fits = smaller >= settings.min_spoken_words and larger <= settings.max_words
        if fits and larger - smaller < least:
            best, least = halves, larger - smaller
    return best


def _size(pieces: Sequence[_Piece]) -> int:
    return sum(size(text) for _, text, _ in pieces)


def _pieces(turns: Sequence[Block]) -> Iterator[_Piece]:
    for block in turns:
        spans = sentence_spans(block.text)
        for (start, end), (following, _) in pairwise([*spans, (len(block.text), 0)]):
            space = block.text[end:following] if following < len(block.text) else "\n\n"
            yield block, block.text[start:end] + space, start


def _part(pieces: Sequence[_Piece]) -> AnswerPart:
    (first, text, start), (last, tail, at) = pieces[0], pieces[-1]
    for (before, _, _), (block, piece, _) in pairwise(pieces):
        if block.id != before.id:
            # A sentence that an aside interrupts goes on in the same paragraph.
            goes_on = begins_lower(piece) and not ends_sentence(text)
            text = text.rstrip() + (" " if goes_on else "\n\n")
        text += piece
    return AnswerPart(
        text=text.strip(),
        blocks=tuple({block.id: block for block, _, _ in pieces}.values()),
        start_seconds=_seconds_at(first, start),
        end_seconds=_seconds_at(last, at + len(tail.rstrip())),
    )


def _seconds_at(block: Block, at: int) -> float | None:
    """Return the time of a character of a turn, interpolated between the turn's ends."""
    start, end = block.start_seconds, block.end_seconds
    if at <= 0 or start is None:
        return start
    if end is None or at >= len(block.text):
        return end
    return round(start + (end - start) * at / len(block.text), 3)


_NOTHING = "nothing: it is not the persona's own answer"
_ASIDE = Fault(
    "aside",
    "it interrupts an answer and asks nothing: the answer continues after it",
    "lower passages.min_comment_words, max_interruption_words or min_question_words to use it as"
    " a question",
)
_REPLY = Fault(
    "short_answer",
    "a few words in reply to a turn that asks nothing",
    "lower passages.min_spoken_words in the recipe to keep it",
)
_UNSPOKEN = {
    "heading": "a heading of the transcript, not speech",
    "boilerplate": "a stage direction, a jingle or the head of the transcript, not speech",
}


def split_turns(
    document: Document,
    blocks: Sequence[Block],
    persona: str,
    settings: PassageSettings,
    now: datetime,
) -> Rows:
    """Return an episode's passages, the spoken questions, and a verdict on every other block."""
    rows = _Builder(document, now)
    return _split(rows, blocks, lambda turns: Talk(turns, persona, document.lang, settings))


def split_chat(
    document: Document,
    blocks: Sequence[Block],
    persona: str,
    settings: PassageSettings,
    now: datetime,
) -> Rows:
    """Return the passages, questions and verdicts of one conversation of a chat.

    What is no turn has its verdict already.
    """
    others = (block for block in blocks if block.speaker not in {None, persona})
    breaks = frozenset(block.ord for block in others if block.kind != "turn")
    turns = [block for block in blocks if block.kind == "turn"]
    return _split(
        _Builder(document, now),
        turns,
        lambda spoken: ChatTalk(spoken, persona, document.lang, settings, breaks),
    )


def _split(
    rows: _Builder, blocks: Sequence[Block], talk_of: Callable[[Sequence[Block]], Talk]
) -> Rows:
    turns = [block for block in blocks if block.kind == "turn"]
    backchannels = [block for block in turns if is_backchannel(block.text)]
    rows.drop(
        backchannels, Fault("backchannel", "it only shows that somebody is listening", _NOTHING)
    )
    dropped = {block.id for block in backchannels}
    talk = talk_of([block for block in turns if block.id not in dropped])
    settings = talk.settings
    unpunctuated = Fault(
        "unpunctuated",
        f"more than {settings.max_words} words without the end of a sentence",
        "use a transcript with punctuation",
    )
    for exchange in talk.exchanges():
        question, asking = talk.select_question(exchange.questions)
        rows.drop(exchange.asides, _ASIDE)
        rows.drop(exchange.replies, _REPLY)
        too_long = [block for block in exchange.answers if _has_long_sentence(block, settings)]
        rows.drop(too_long, unpunctuated)
        answers = [block for block in exchange.answers if block not in too_long]
        parts = split_answer(answers, settings) if answers else []
        rows.add_parts(parts, talk, question, asking)
    rows.drop_unused(blocks)
    return rows.finish()


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

    def add_parts(
        self, parts: Sequence[AnswerPart], talk: Talk, question: str | None, asking: Sequence[Block]
    ) -> None:
        """Add the parts of an answer that are learnt, the question to the first, and drop others.

        A turn that only a part of is dropped has a note of it.
        """
        refused: list[tuple[AnswerPart, Fault]] = []
        began = False
        for part in parts:
            fault = talk.short(part.text) if began else talk.reject(question, part.text)
            if fault is not None:
                refused.append((part, fault))
                continue
            self.add(part, None if began else question, asking)
            began = True
        for part, fault in refused:
            note = fault._replace(
                reason=f"part of it is in no passage ({fault.reason}): {part.text!r}"
            )
            for block in part.blocks:
                kept = block.id in self.used
                self.drop([block], note if kept else fault, keep=kept)

    def add(self, answer: AnswerPart, question: str | None, asking: Sequence[Block]) -> None:
        """Add one exchange of the talk's thread; a later step asks where nobody did."""
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
            context=context,
            thread_id=content_id(self.document.id, "thread", 1),
        )
        self.seen[answer.text] += 1
        self.passages.append(passage)
        self.used.update(passage.block_ids)
        if question:
            self._add_question(passage, question, asking)

    def _add_question(self, passage: Passage, text: str, asking: Sequence[Block]) -> None:
        self.questions.append(
            Question(
                id=content_id(passage.id, text),
                passage_id=passage.id,
                text=text,
                type="real",
                origin="spoken",
            )
        )
        reason = "another speaker's words; they are the question to an answer"
        if text != joined(asking):
            reason = (
                f"another speaker's words; the question to an answer: the last {count_words(text)}"
            )
        self.drop(asking, Fault("question", reason, _NOTHING))

    def drop(self, blocks: Sequence[Block], fault: Fault, *, keep: bool = False) -> None:
        """Drop blocks by a rule, or only note it."""
        self.verdicts += [
            fault.verdict("blocks", block.id, self.now, keep=keep) for block in blocks
        ]

    def drop_unused(self, blocks: Sequence[Block]) -> None:
        """Drop every block that is in no passage and has no verdict."""
        judged = {verdict.subject_id for verdict in self.verdicts} | self.used
        for block in blocks:
            if block.id not in judged:
                rule = block.kind if block.kind in _UNSPOKEN else "other_speaker"
                reason = _UNSPOKEN.get(
                    rule, "said by another speaker, and not the question to an answer"
                )
                self.drop([block], Fault(rule, reason, _NOTHING))

    def finish(self) -> Rows:
        """Return what was collected."""
        return Rows(passages=self.passages, questions=self.questions, verdicts=self.verdicts)
