"""Rate where a passage may begin, so that it can be understood without what stands before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from memoirist.data.authorship.insertions import find_insertions, is_signature
from memoirist.data.authorship.letters import HEAD_WORDS, OPEN, QUOTE
from memoirist.data.schema.records import Block
from memoirist.data.text.language_rules import language, opening_rules
from memoirist.data.text.words import count_words, ends_sentence, is_cjk, sentence_spans

# What each rule on openings costs: the share that pointed to something untold among the openings
# that it finds, on 200 passages of four English memoirs that a person had read. It finds at most
# five by signature, far_pointer, reference, object and quoted: their costs are estimates.
OPENING_COSTS = {
    "signature": 0.9,
    "pronoun": 0.95,
    "pointer": 0.9,
    "connective": 0.95,
    "later_pointer": 0.55,
    "far_pointer": 0.4,
    "reference": 0.5,
    "conjunction": 0.5,
    "object": 0.5,
    "quoted": 0.6,
}
# An opening may also point by words that no rule knows (24 of the 200, 6 of them do); less often
# where it names somebody, a place or a year (9 of 110).
_UNNAMED, _NAMED = 0.2, 0.06
_OPENING_WORDS = 30
# Openings of this cost surely point to something. It and the numbers below are estimates: no data
# was at hand to choose them by.
_POINTS = 0.9
# A border between two speeches, inside a letter, a speech or a list, and inside a paragraph.
_BETWEEN_SPEECHES = 0.5
INSIDE = 2.0
_IN_PARAGRAPH = 0.5
# An announcement leaves its paragraph only where so many words stay.
_MIN_BEFORE = 20


def size(text: str) -> int:
    """Count words, a Chinese character as 2/3, so that one limit serves English and Chinese."""
    n_words = count_words(text)
    return n_words * 2 // 3 if is_cjk(text) else n_words


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A paragraph or a part of one: the characters from `start` to `end` of its block.

    `size` is in words, `cost` is what a passage costs that begins with the piece, `points` tells
    whether it surely points to what stands before, and `ends` whether a passage may end with it.
    """

    block: Block
    start: int
    end: int
    size: float
    cost: float
    points: bool
    ends: bool

    @property
    def text(self) -> str:
        """Return the text, verbatim."""
        return self.block.text[self.start : self.end]


def opening_fault(text: str, lang: str | None) -> str | None:
    """Return the rule by which a beginning points to what was told before, else None."""
    if is_signature(text.split("\n\n", 1)[0]):
        return "signature"
    start = text.lstrip(OPEN)[:300]
    found = [rule for rule, pattern in opening_rules(lang).items() if pattern.match(start)]
    if text.lstrip().startswith(QUOTE):
        found.append("quoted")
    return max(found, key=OPENING_COSTS.__getitem__, default=None)


def cut_pieces(
    blocks: Sequence[Block], lang: str | None, long_words: int, max_words: int
) -> list[Piece]:
    """Return the paragraphs of one chapter as pieces, each rated as the beginning of a passage.

    A paragraph of more than `long_words` is cut into its sentences, and so is one before an opening
    that surely points to it. A letter, a speech or a list of up to `max_words` stays whole, and the
    sentence that announces it is a piece of its own.
    """
    starts, whole, leads = _insertions(blocks, lang, max_words)
    pointing = [opening_cost(block.text, lang) >= _POINTS for block in blocks]
    pieces: list[Piece] = []
    for index, block in enumerate(blocks):
        spans = [(0, len(block.text))]
        pointed_to = any(pointing[index + 1 : index + 2]) and index + 1 not in starts
        if size(block.text) > long_words or (pointed_to and index not in whole):
            spans = sentence_spans(block.text) or spans
        elif index in leads or not ends_sentence(block.text):
            spans = _with_lead(sentence_spans(block.text), block.text)
        extra = INSIDE if index in starts else 0.0
        if index and all(b.text.lstrip().startswith(QUOTE) for b in blocks[index - 1 : index + 1]):
            extra += _BETWEEN_SPEECHES
        unit = 2 / 3 if is_cjk(block.text) else 1.0
        for start, end in spans:
            text = block.text[start:end]
            cost = opening_cost(text, lang)
            pieces.append(
                Piece(
                    block=block,
                    start=start,
                    end=end,
                    size=count_words(text) * unit,
                    cost=cost + extra,
                    points=cost >= _POINTS,
                    ends=ends_sentence(text),
                )
            )
            extra = _IN_PARAGRAPH + (INSIDE if index in whole else 0.0)
    return pieces


def opening_cost(text: str, lang: str | None) -> float:
    """Return the share of such beginnings that point to what was told before, by a rule or not."""
    rule = opening_fault(text, lang)
    if rule is not None:
        return OPENING_COSTS[rule]
    tokens = [token.strip(OPEN) for token in text.split(maxsplit=_OPENING_WORDS)]
    named = any(
        token[:1].isdigit() or (token[:1].isupper() and len(token) > 2 and token[1] not in "'’")
        for token in tokens[1:_OPENING_WORDS]
    )
    return _NAMED if named else _UNNAMED


def _with_lead(spans: list[tuple[int, int]], text: str) -> list[tuple[int, int]]:
    """Return what stands before the last sentence, and the last sentence."""
    if len(spans) < 2 or count_words(text[: spans[-1][0]]) < _MIN_BEFORE:
        return [(0, len(text))]
    return [(0, spans[-2][1]), spans[-1]]


def _insertions(
    blocks: Sequence[Block], lang: str | None, max_words: int
) -> tuple[set[int], set[int], set[int]]:
    """Return the indexes of blocks that go on with an insertion, of whole ones, and of their leads.

    An insertion of more than `max_words` has to be cut: only its first and its last border count.
    """
    starts: set[int] = set()
    whole: set[int] = set()
    leads: set[int] = set()
    for found in find_insertions(blocks, language(lang)):
        first = found.first + 1 if found.lead is None else found.first
        borders = range(first, found.last + 1)
        total = sum(size(block.text) for block in blocks[found.first : found.last + 1])
        if total <= max_words:
            starts.update(borders)
            whole.update(range(found.first, found.last + 1))
        else:
            starts.update(borders[:2], borders[-1:])
        if found.lead is not None:
            leads.add(found.lead)
        if total <= HEAD_WORDS:  # "Ladies and gentlemen."
            starts.add(found.last + 1)
    return starts, whole, leads
