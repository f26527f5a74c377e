"""Find the persona among the speakers of a transcript, and split its turns into exchanges."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from fnmatch import fnmatch
from itertools import pairwise
from pathlib import PurePath

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
from memoirist.data.text.language_rules import name_words
from memoirist.data.text.words import (
    count_words,
    ends_sentence,
    fold,
    sentences,
    simplified,
)
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
    turns = [block for block in blocks if block.kind == "turn"]
    unpunctuated = Fault(
        "unpunctuated",
        f"more than {settings.max_words} words without a sentence's end",
        "give a transcript with punctuation",
    )
    backchannels = [block for block in turns if is_backchannel(block.text)]
    rows.drop(backchannels, Fault("backchannel", "it only says that somebody listens", _NOTHING))
    dropped = {block.id for block in backchannels}
    spoken = [block for block in turns if block.id not in dropped]
    talk = Talk(spoken, persona, document.lang, settings)
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


# The name of a turn without a speaker in messages and in a mapping.
UNNAMED = "(unnamed)"
_TITLES = frozenset(name_words("speaker_titles"))
_HAN_TITLES = re.compile(r"(?<=.)(?:老师|老師|先生|女士|教授|博士|主任|医生|醫生)$")
_GENERIC = re.compile(
    rf"^(?:{'|'.join(name_words('unknown_speakers'))})[\s_#.-]*(?:\d+|[a-z])?$", re.IGNORECASE
)


def find_persona(blocks: Sequence[Block], names: Sequence[str]) -> str | None:
    """Return the speaker who is the persona: by full name, else by all words of the shorter name.

    Titles, case, accents, order ("Marrow, Ada"), traditional or simplified characters and text in
    brackets do not matter. "Ada" and "A. Marrow" both match "Ada Marrow" when no other speaker
    matches; a label such as SPEAKER_00 matches only itself.
    """
    speakers = list(dict.fromkeys(block.speaker for block in blocks if block.speaker))
    for speaker in speakers:
        if is_called(speaker, names):
            return speaker
    name_words = [_name_words(name) for name in names]
    similar = [
        speaker
        for speaker in speakers
        if not _GENERIC.match(speaker)
        and any(_similar(form, name) for form in _forms(speaker) for name in name_words)
    ]
    return similar[0] if len(similar) == 1 else None


def is_called(speaker: str, names: Sequence[str]) -> bool:
    """Tell whether a speaker's label is one of the names in full."""
    forms = [sorted(form) for form in _forms(speaker)]
    joined = "".join(_name_words(speaker))
    return any(
        words and (sorted(words) in forms or (len(words) > 1 and "".join(words) == joined))
        for words in map(_name_words, names)
    )


def _forms(speaker: str) -> Iterator[list[str]]:
    """Yield the names that a label may hold: "Rook (Ada Marrow)", "Ada | ACME", "Ada, MD"."""
    bare = re.sub(r"[(\[][^()\[\]]*[)\]]", " ", speaker)
    inside = re.findall(r"[(\[]([^()\[\]]*)[)\]]", speaker)
    parts = re.split(r"\s*[|/,]\s*|\s+[-–—]\s+", bare)
    for form in dict.fromkeys([speaker, bare, *parts, *inside]):
        if words := _name_words(form):
            yield words


def _name_words(name: str) -> list[str]:
    words = re.findall(r"\w+", fold(simplified(name)))
    words = [_HAN_TITLES.sub("", word) for word in words]
    return [word for word in words if word not in _TITLES] or words


def _similar(first: Sequence[str], second: Sequence[str]) -> bool:
    shorter, longer = sorted((list(first), list(second)), key=len)
    matched = [
        any(
            word == other or (min(len(word), len(other)) == 1 and word[0] == other[0])
            for other in longer
        )
        for word in shorter
    ]
    return bool(matched) and all(matched) and any(len(word) > 1 for word in shorter)


def mapping_of(speakers: Mapping[str, str], location: str) -> dict[str, str]:
    """Return the label -> name mapping that holds for one file, labels in lower case.

    A key is a label, or "FILE:LABEL" for the file of that name or pattern, which goes first.
    """
    name = PurePath(location).name
    general: dict[str, str] = {}
    of_file: dict[str, str] = {}
    for key, value in speakers.items():
        file, colon, label = key.rpartition(":")
        if colon and (fnmatch(name, file) or fnmatch(location, file)):
            of_file[_label_key(label)] = value
        else:
            general[_label_key(key)] = value
    return general | of_file


def _label_key(label: str) -> str:
    return " ".join(label.split()).casefold()


def renamed(
    blocks: Sequence[Block], mapping: Mapping[str, str], names: Sequence[str]
) -> list[Block]:
    """Map the labels of the blocks, and replace every full name of the persona by the first.

    So a person with two names in one transcript becomes one speaker.
    """
    renames: dict[str | None, str | None] = {}
    for block in blocks:
        if block.speaker not in renames:
            label = mapping.get(_label_key(block.speaker or UNNAMED), block.speaker)
            renames[block.speaker] = names[0] if label and is_called(label, names) else label
    return [
        block
        if block.kind != "turn" or renames[block.speaker] == block.speaker
        else replace(block, speaker=renames[block.speaker])
        for block in blocks
    ]


def speaker_shares(blocks: Sequence[Block]) -> str:
    """Describe who speaks how much of a document, for the message that asks for a mapping."""
    spoken: Counter[str] = Counter()
    for block in blocks:
        if block.kind == "turn":
            spoken[block.speaker or UNNAMED] += count_words(block.text)
    total = sum(spoken.values()) or 1
    shares = [f"{name} {100 * n // total} %" for name, n in spoken.most_common(8)]
    more = len(spoken) - len(shares)
    return ", ".join(shares) + (f" and {more} more" if more > 0 else "")
