"""Split transcripts: the persona's turns are answers, the others' are asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from data.nouns import Block, Document, Passage, Question, Rows, Verdict, content_id
from data.passages import PassageSettings, size
from data.spoken import Part, is_backchannel, parts, question_of, unpunctuated
from data.text import count_words

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
