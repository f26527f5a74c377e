"""Breaks of an episode: what stands between "we'll be right back" and "welcome back"."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from data.ads import cues
from data.cuts import sentence_spans
from data.nouns import Block, Cut
from data.text import count_words

_MAX_SENTENCES = 40
_MAX_WORDS = 700
# Whoever goes into a break says so in few words; a story that mentions one takes more.
_MAX_OPENING_WORDS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """One sentence, and where it stands."""

    block: Block
    first: int
    last: int

    @property
    def text(self) -> str:
        return self.block.text[self.first : self.last]


def find_breaks(blocks: Sequence[Block]) -> list[Cut]:
    """Return the cuts of an episode's breaks, from the words that open one to those that close it.

    The same voice opens and closes a break, at most 40 sentences and 700 words lie between, and
    an ad's cue stands among them; where none does, it may have been a part of the talk, and it
    stays. A break that is opened by an ad ("this episode is brought to you by") is in one voice.
    """
    said = list(_sentences(blocks))
    texts = [each.text for each in said]
    cuts: list[Cut] = []
    begin = 0
    while begin < len(said):
        end = _closing(said, texts, begin) if _opens(texts[begin]) else None
        if end is None:
            begin += 1
            continue
        cuts += _cuts(said[begin : end + 1])
        begin = end + 1
    return cuts


def _sentences(blocks: Sequence[Block]) -> Iterator[_Said]:
    for block in blocks:
        for first, last in sentence_spans(block.text):
            yield _Said(block=block, first=first, last=last)


def _opens(text: str) -> bool:
    if cues("strong").search(text):
        return True
    return bool(cues("open").search(text)) and count_words(text) <= _MAX_OPENING_WORDS


def _closing(said: Sequence[_Said], texts: Sequence[str], begin: int) -> int | None:
    """Return the number of the sentence that closes the break which `begin` opens."""
    speaker = said[begin].block.speaker
    has_cue = is_ad = bool(cues("strong").search(texts[begin]))
    words = 0
    for n in range(begin + 1, min(len(said), begin + _MAX_SENTENCES)):
        mine = said[n].block.speaker == speaker
        if mine and n > begin + 1 and cues("close").match(texts[n]):
            return n if has_cue else None
        words += count_words(texts[n])
        if words > _MAX_WORDS or (is_ad and not mine):
            return None
        has_cue |= bool(cues("strong").search(texts[n]) or cues("weak").search(texts[n]))
    return None


def _cuts(said: Sequence[_Said]) -> Iterator[Cut]:
    """Give one cut for each block that a stretch of sentences runs through."""
    spans: dict[str, tuple[int, int]] = {}
    for each in said:
        first, _ = spans.get(each.block.id, (each.first, each.last))
        spans[each.block.id] = (first, each.last)
    for block_id, (first, last) in spans.items():
        yield Cut(block_id=block_id, first_char=first, last_char=last, rule="ad")
