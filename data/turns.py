"""Split transcripts and chat datasets: the persona's turns are answers, the others' are asked."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from data.nouns import Block, Document, Origin, Passage, Question, Rows, Verdict, content_id
from data.passages import PassageSettings, size
from data.text import count_words, stop_words, words


@dataclass(slots=True)
class _Exchange:
    """What the others said, and the persona's turns that answer it."""

    asked: list[Block] = field(default_factory=list)
    answered: list[Block] = field(default_factory=list)
    follows: bool = False


def find_persona(blocks: Sequence[Block], names: Sequence[str]) -> str | None:
    """Return the speaker who is the persona: by full name, else by all words of the shorter one.

    "Ada" and "A. Marrow" both match "Ada Marrow" when no other speaker does as well.
    """
    speakers = Counter(block.speaker for block in blocks if block.speaker)
    wanted = [_name_words(name) for name in names]
    for speaker in speakers:
        if _name_words(speaker) in wanted:
            return speaker
    loose = [
        speaker
        for speaker in speakers
        if any(_alike(_name_words(speaker), name) for name in wanted)
    ]
    return loose[0] if len(loose) == 1 else None


def _name_words(name: str) -> list[str]:
    return re.findall(r"\w+", name.casefold())


def _alike(first: Sequence[str], second: Sequence[str]) -> bool:
    shorter, longer = sorted((list(first), list(second)), key=len)
    matched = [
        any(
            word == other or (min(len(word), len(other)) == 1 and word[0] == other[0])
            for other in longer
        )
        for word in shorter
    ]
    return bool(matched) and all(matched) and any(len(word) > 1 for word in shorter)


def speaker_shares(blocks: Sequence[Block]) -> str:
    """Describe who speaks how much of a document, for the message that asks for a mapping."""
    spoken: Counter[str] = Counter()
    for block in blocks:
        if block.kind == "turn":
            spoken[block.speaker or "(unnamed)"] += count_words(block.text)
    total = sum(spoken.values()) or 1
    return ", ".join(f"{name} {100 * n // total} %" for name, n in spoken.most_common(8))


def split_turns(
    document: Document,
    blocks: Sequence[Block],
    persona: str,
    settings: PassageSettings,
    now: datetime,
) -> Rows:
    """Return an episode's passages, the questions really asked, and a verdict for the rest."""
    rows = _Builder(document, "spoken", now)
    for exchange in _exchanges(blocks, persona, fold=True):
        for answer in _bounded(exchange.answered, settings):
            if size(" ".join(block.text for block in answer)) < settings.min_spoken_words:
                rows.drop(answer, "backchannel", "a short interjection, not an answer")
            else:
                rows.add(answer, exchange.asked, follows=exchange.follows)
                exchange.follows = True
                exchange.asked = []
    rows.drop_unused(blocks)
    return rows.finish()


def split_conversation(
    document: Document, blocks: Sequence[Block], now: datetime, persona: str = "assistant"
) -> Rows:
    """Return the exchanges of one conversation of a dataset; every answer counts, however short."""
    rows = _Builder(document, "given", now)
    rows.system = next((block.text for block in blocks if block.kind == "system"), None)
    for number, exchange in enumerate(_exchanges(blocks, persona, fold=False)):
        if exchange.answered and exchange.asked:
            rows.add(exchange.answered, exchange.asked, follows=number > 0)
        else:
            rows.drop(exchange.answered, "unprompted", "an answer without a question before it")
    rows.drop_unused(blocks)
    return rows.finish()


def _exchanges(blocks: Sequence[Block], persona: str, *, fold: bool) -> Iterator[_Exchange]:
    current = _Exchange()
    for block in blocks:
        if block.kind != "turn":
            continue
        if block.speaker == persona:
            current.answered.append(block)
        elif fold and current.answered and _is_backchannel(block):
            # "Mm-hm." between two halves of an answer does not part them.
            continue
        else:
            if current.answered:
                yield current
                current = _Exchange(follows=True)
            current.asked.append(block)
    if current.answered:
        yield current


def _is_backchannel(block: Block) -> bool:
    """Tell whether a turn only says "go on": up to four words, each of them a listener's."""
    found = words(block.text)
    return (
        0 < len(found) <= 4
        and "?" not in block.text
        and stop_words("backchannel").issuperset(found)
    )


def _bounded(turns: Sequence[Block], settings: PassageSettings) -> Iterable[list[Block]]:
    """Cut a long monologue at turn ends, so that each part stays under the limit."""
    part: list[Block] = []
    for turn in turns:
        if part and size(" ".join(b.text for b in [*part, turn])) > settings.max_words:
            yield part
            part = []
        part.append(turn)
    if part:
        yield part


class _Builder:
    """Collects the rows of one document of turns."""

    def __init__(self, document: Document, origin: Origin, now: datetime) -> None:
        self.document = document
        self.origin = origin
        self.now = now
        self.system: str | None = None
        self.passages: list[Passage] = []
        self.questions: list[Question] = []
        self.verdicts: list[Verdict] = []
        self.used: set[str] = set()
        self.seen: Counter[str] = Counter()
        self.thread = 0

    def add(self, answer: Sequence[Block], asked: Sequence[Block], *, follows: bool) -> None:
        """Add one exchange; an answer without a question before it is asked about later."""
        text = _joined(answer)
        self.thread += not follows
        context = self.passages[-1].text.split("\n\n")[-1] if self.passages else None
        passage = Passage(
            id=content_id(self.document.id, text, self.seen[text]),
            source_id=self.document.source_id,
            document_id=self.document.id,
            ord=len(self.passages),
            group_id=self.document.id,
            text=text,
            n_words=count_words(text),
            block_ids=tuple(block.id for block in answer),
            start_seconds=answer[0].start_seconds,
            end_seconds=answer[-1].end_seconds,
            speaker=answer[0].speaker,
            context=context if follows else None,
            thread_id=content_id(self.document.id, "thread", self.thread),
            system=self.system,
        )
        self.seen[text] += 1
        self.passages.append(passage)
        self.used.update(block.id for block in answer)
        if asked:
            self._ask(passage, asked)

    def _ask(self, passage: Passage, asked: Sequence[Block]) -> None:
        text = _joined(asked)
        self.questions.append(
            Question(
                id=content_id(passage.id, text),
                passage_id=passage.id,
                text=text,
                type="real",
                origin=self.origin,
            )
        )
        for block in asked:
            self._verdict(block, "question", "another's words; they are the question of an answer")

    def drop(self, blocks: Sequence[Block], rule: str, reason: str) -> None:
        """Drop blocks by a rule."""
        for block in blocks:
            self._verdict(block, rule, reason)

    def drop_unused(self, blocks: Sequence[Block]) -> None:
        """Give every block that is in no passage and has no verdict the one that says so."""
        judged = {verdict.subject_id for verdict in self.verdicts} | self.used
        for block in blocks:
            if block.id in judged:
                continue
            if block.kind == "system":
                self._verdict(block, "system", "a system message; the pairs carry it")
            else:
                self._verdict(block, "other_speaker", "said by another and answered by nobody")

    def _verdict(self, block: Block, rule: str, reason: str) -> None:
        self.verdicts.append(
            Verdict(
                subject_id=block.id,
                subject="blocks",
                rule=rule,
                keep=False,
                reason=reason,
                created_at=self.now,
                next_step="nothing: it is not the persona's own answer",
            )
        )

    def finish(self) -> Rows:
        """Return what was collected."""
        return Rows(passages=self.passages, questions=self.questions, verdicts=self.verdicts)


def _joined(blocks: Sequence[Block]) -> str:
    return "\n\n".join(block.text for block in blocks)
