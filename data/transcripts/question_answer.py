"""Split the turns of a transcript into exchanges: the persona's answers and what was asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from memoirist.data.passages.borders import size
from memoirist.data.passages.segmentation import PassageSettings
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
    for piece in _sentence_pieces(turns):
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
    _join_short_tail(groups, settings)
    return [_part(pieces) for pieces in groups]


def _join_short_tail(groups: list[list[_Piece]], settings: PassageSettings) -> None:
    if len(groups) < 2:
        return
    tail, before = (sum(size(text) for _, text, _ in pieces) for pieces in (groups[-1], groups[-2]))
    if tail < settings.min_words and tail + before <= settings.max_words:
        last = groups.pop()
        groups[-1] += last


def _sentence_pieces(turns: Sequence[Block]) -> Iterator[_Piece]:
    for block in turns:
        at = 0
        parts = [s for paragraph in block.text.split("\n\n") for s in sentences(paragraph)]
        for n, sentence in enumerate(parts):
            # A sentence across a line break is not found as it stands.
            start = max(block.text.find(sentence, at), at)
            at = start + len(sentence)
            rest = block.text[at:]
            space = rest[: len(rest) - len(rest.lstrip())]
            yield block, sentence + ("\n\n" if n == len(parts) - 1 else space), start


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
    "it interrupts an answer and asks nothing: the answer goes on over it",
    "lower passages.min_comment_words or min_question_words to have it as a question",
)
_REPLY = Fault(
    "short_answer",
    "a few words to a turn that asks nothing",
    "lower passages.min_spoken_words in the recipe to keep it",
)
_UNSPOKEN = {
    "heading": "a heading of the transcript; nobody said it",
    "boilerplate": "a stage direction, a jingle or the head of the transcript: nobody's speech",
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

    def talk_of(turns: Sequence[Block]) -> ChatTalk:
        talk = ChatTalk(turns, persona, document.lang, settings)
        talk.breaks = breaks
        return talk

    return _split(
        _Builder(document, now), [block for block in blocks if block.kind == "turn"], talk_of
    )


def _split(
    rows: _Builder, blocks: Sequence[Block], talk_of: Callable[[Sequence[Block]], Talk]
) -> Rows:
    turns = [block for block in blocks if block.kind == "turn"]
    backchannels = [block for block in turns if is_backchannel(block.text)]
    rows.drop(backchannels, Fault("backchannel", "it only says that somebody listens", _NOTHING))
    dropped = {block.id for block in backchannels}
    talk = talk_of([block for block in turns if block.id not in dropped])
    settings = talk.settings
    unpunctuated = Fault(
        "unpunctuated",
        f"more than {settings.max_words} words without a sentence's end",
        "give a transcript with punctuation",
    )
    for exchange in talk.exchanges():
        question, asking = talk.select_question(exchange.questions)
        rows.drop(exchange.asides, _ASIDE)
        rows.drop(exchange.replies, _REPLY)
        too_long = [block for block in exchange.answers if _has_long_sentence(block, settings)]
        rows.drop(too_long, unpunctuated)
        answers = [block for block in exchange.answers if block not in too_long]
        for n, part in enumerate(split_answer(answers, settings) if answers else ()):
            fault = talk.short(part.text) if n else talk.reject(question, part.text)
            if fault is None:
                rows.add(part, None if n else question, asking)
            else:
                rows.drop([block for block in part.blocks if block.id not in rows.used], fault)
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
        reason = "another's words; they are the question of an answer"
        if text != joined(asking):
            reason = f"another's words; the last {count_words(text)} are the question of an answer"
        self.drop(asking, Fault("question", reason, _NOTHING))

    def drop(self, blocks: Sequence[Block], fault: Fault) -> None:
        """Drop blocks by a rule."""
        self.verdicts += [fault.verdict("blocks", block.id, self.now) for block in blocks]

    def drop_unused(self, blocks: Sequence[Block]) -> None:
        """Drop every block that is in no passage and has no verdict."""
        judged = {verdict.subject_id for verdict in self.verdicts} | self.used
        for block in blocks:
            if block.id not in judged:
                rule = block.kind if block.kind in _UNSPOKEN else "other_speaker"
                reason = _UNSPOKEN.get(rule, "said by another, and not asked")
                self.drop([block], Fault(rule, reason, _NOTHING))

    def finish(self) -> Rows:
        """Return what was collected."""
        return Rows(passages=self.passages, questions=self.questions, verdicts=self.verdicts)
