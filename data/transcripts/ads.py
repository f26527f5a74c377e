"""Find ads that a host reads and ad breaks, by the phrases that introduce sponsors."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from memoirist.data.schema.records import Block, Cut
from memoirist.data.text.words import count_words
from memoirist.data.transcripts.removed_spans import sentence_spans

# A new version makes the step run again on every episode; the number is part of its state.
VERSION = 2
_PATTERNS = Path(__file__).with_name("ads.txt")
_REACH_SENTENCES = 8
_NAME_REACH_SENTENCES = 3
_MAX_SENTENCES = 30
# The sponsor: one or two capitalised words after "by" or "from".
_SPONSOR = re.compile(
    r"(?i:\b(?:by|from|von|durch|par|por))\s+(?:(?:the|our|der|die|das|dem|le|la|el)\s+)?"
    r"([A-Z][\w&'’-]{2,}(?:\s+[A-Z][\w&'’-]*)?)"
)


def find_ads(block: Block) -> list[Cut]:
    """Return the spans of a turn that are read for a sponsor.

    A span runs from the first cue to the last, each at most eight sentences after the one before,
    and needs one strong cue, so that a talk about sponsors stays. The sponsor's name soon after its
    introduction is a cue as well.
    """
    if not cues("strong").search(block.text):
        return []
    spans = sentence_spans(block.text)
    return [
        _cut(block.id, spans[run[0]][0], spans[run[-1]][1])
        for run in _cue_runs([block.text[first:last] for first, last in spans])
    ]


def _cut(block_id: str, first: int, last: int) -> Cut:
    return Cut(block_id=block_id, first_char=first, last_char=last, rule="ad")


def _cue_runs(texts: Sequence[str]) -> Iterator[list[int]]:
    """Yield the indexes of the sentences with a cue, span by span."""
    strong = {n for n, text in enumerate(texts) if cues("strong").search(text)}
    hits = strong | {n for n, text in enumerate(texts) if cues("weak").search(text)}
    for n in strong:
        hits |= set(_sponsor_mentions(texts, n))
    run: list[int] = []
    for n in sorted(hits):
        if run and (n - run[-1] > _REACH_SENTENCES or n - run[0] > _MAX_SENTENCES):
            if strong & set(run):
                yield run
            run = []
        run.append(n)
    if strong & set(run):
        yield run


def _sponsor_mentions(texts: Sequence[str], opening: int) -> Iterator[int]:
    """Yield the sentences after an opening that name its sponsor, with gaps of at most 3."""
    names = [re.escape(name) for name in _SPONSOR.findall(texts[opening])]
    if not names:
        return
    mention = re.compile(rf"\b(?:{'|'.join(names)})\b")
    last = opening
    for n in range(opening + 1, min(len(texts), opening + _MAX_SENTENCES)):
        if n - last > _NAME_REACH_SENTENCES:
            return
        if mention.search(texts[n]):
            last = n
            yield n


@cache
def cues(kind: str) -> re.Pattern[str]:
    """Return the pattern of all cues of a kind: `strong`, `weak`, `open` or `close`."""
    lines = _PATTERNS.read_text("utf-8").splitlines()
    patterns = [line.split("\t", 1)[1] for line in lines if line.startswith(f"{kind}\t")]
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns), re.IGNORECASE)


_MAX_BREAK_SENTENCES = 40
_MAX_WORDS = 700
# A break is announced in few words; a story that mentions one takes more.
_MAX_OPENING_WORDS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sentence:
    """One sentence with its block and its span in it."""

    block: Block
    first: int
    last: int

    @property
    def text(self) -> str:
        return self.block.text[self.first : self.last]


def find_breaks(blocks: Sequence[Block]) -> list[Cut]:
    """Return the cuts of an episode's breaks, from the opening phrase to the closing one.

    One speaker opens and closes a break, with at most 40 sentences and 700 words and at least one
    ad cue in between; without a cue it may be part of the talk and stays. A break that an ad opens
    ("this episode is brought to you by") has one speaker throughout.
    """
    sentences = [
        _Sentence(block=block, first=first, last=last)
        for block in blocks
        for first, last in sentence_spans(block.text)
    ]
    texts = [sentence.text for sentence in sentences]
    cuts: list[Cut] = []
    begin = 0
    while begin < len(sentences):
        end = _closing(sentences, texts, begin) if _opens(texts[begin]) else None
        if end is None:
            begin += 1
            continue
        cuts += _cuts(sentences[begin : end + 1])
        begin = end + 1
    return cuts


def _opens(text: str) -> bool:
    if cues("strong").search(text):
        return True
    return bool(cues("open").search(text)) and count_words(text) <= _MAX_OPENING_WORDS


def _closing(sentences: Sequence[_Sentence], texts: Sequence[str], begin: int) -> int | None:
    """Return the index of the sentence that closes the break opened at `begin`."""
    speaker = sentences[begin].block.speaker
    has_cue = is_ad = bool(cues("strong").search(texts[begin]))
    words = 0
    for n in range(begin + 1, min(len(sentences), begin + _MAX_BREAK_SENTENCES)):
        same_speaker = sentences[n].block.speaker == speaker
        if same_speaker and n > begin + 1 and cues("close").match(texts[n]):
            return n if has_cue else None
        words += count_words(texts[n])
        if words > _MAX_WORDS or (is_ad and not same_speaker):
            return None
        has_cue |= bool(cues("strong").search(texts[n]) or cues("weak").search(texts[n]))
    return None


def _cuts(sentences: Sequence[_Sentence]) -> Iterator[Cut]:
    """Yield one cut for each block of a run of sentences."""
    spans: dict[str, tuple[int, int]] = {}
    for sentence in sentences:
        first, _ = spans.get(sentence.block.id, (sentence.first, sentence.last))
        spans[sentence.block.id] = (first, sentence.last)
    for block_id, (first, last) in spans.items():
        yield _cut(block_id, first, last)
