"""Find stock text and ads in transcripts, and cut them out of turns before they are split.

Stock text is what several episodes have word for word: intros, ads and farewells. The first pass
hashes every run of `stock_min_words` words and counts the episodes that have it; the second marks
the runs that enough episodes have. Memory: 16 bytes a word, and the words of one episode at a time.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache, partial
from itertools import combinations, groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memoirist.data.passages.settings import PassageSettings
from memoirist.data.schema.records import Block, Cut, Fault, Verdict
from memoirist.data.text.language_rules import phrase_pattern
from memoirist.data.text.words import PARAGRAPH, count_words, sentence_spans, word_spans, words

_REASONS = {
    "stock_text": "stock text in {n} episodes (an intro, an ad or a formula)",
    "ad": "an ad that is read for a sponsor",
}
_NEXT_STEPS = {
    "stock_text": "raise passages.stock_min_episodes in the recipe to keep it",
    "ad": "set passages.cut_ads = false in the recipe to keep it",
}


def merge_cuts(block_id: str, cuts: Iterable[Cut], text: str) -> list[Cut]:
    """Sort the cuts of one turn, and merge those without a word between them."""
    result: list[Cut] = []
    for cut in sorted(cuts, key=lambda cut: (cut.first_char, -cut.last_char)):
        before = result[-1] if result else None
        if before and not re.search(r"\w", text[before.last_char : cut.first_char]):
            result[-1] = replace(before, last_char=max(before.last_char, cut.last_char))
        else:
            result.append(replace(cut, block_id=block_id))
    return result


def apply_cuts(
    blocks: Sequence[Block], cuts: Sequence[Cut], now: datetime
) -> tuple[list[Block], list[Verdict]]:
    """Cut the spans out of the blocks, and return the blocks with a verdict on each changed one.

    A block that loses all its words is dropped.
    """
    by_block: dict[str, list[Cut]] = defaultdict(list)
    for cut in cuts:
        by_block[cut.block_id].append(cut)
    kept: list[Block] = []
    verdicts: list[Verdict] = []
    for block in blocks:
        block_cuts = by_block.get(block.id)
        if not block_cuts:
            kept.append(block)
            continue
        text = _without(block.text, block_cuts)
        has_words = re.search(r"\w", text) is not None
        verdicts.append(_verdict(block, block_cuts, now, keep=has_words))
        if has_words:
            kept.append(replace(block, text=text))
    return kept, verdicts


def _without(text: str, cuts: Sequence[Cut]) -> str:
    kept: list[str] = []
    at = 0
    for cut in sorted(cuts, key=lambda cut: cut.first_char):
        kept.append(text[at : cut.first_char])
        at = max(at, cut.last_char)
    kept.append(text[at:])
    # The texts on both sides of a cut do not belong to one sentence.
    return "\n\n".join(part.strip() for part in kept if re.search(r"\w", part))


def _verdict(block: Block, cuts: Sequence[Cut], now: datetime, *, keep: bool) -> Verdict:
    rule = cuts[0].rule
    removed = " ".join(block.text[cut.first_char : cut.last_char] for cut in cuts)
    n_words = count_words(removed)
    why = _REASONS[rule].format(n=max(cut.n_documents or 0 for cut in cuts))
    reason = f"{why}, words cut: {n_words}: {' '.join(removed.split())[:120]}"
    fault = Fault(rule, reason, _NEXT_STEPS[rule], float(n_words))
    return fault.verdict("blocks", block.id, now, keep=keep)


# A new version makes the step run again on every episode; the number is part of its state.
VERSION = 2
_cues = partial(phrase_pattern, Path(__file__).with_name("ads.txt"))
_REACH_SENTENCES = 8
_NAME_REACH_SENTENCES = 3
_MAX_AD_SENTENCES = 30
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
    if not _cues("strong").search(block.text):
        return []
    spans = sentence_spans(block.text)
    return [
        _cut(block.id, spans[run[0]][0], spans[run[-1]][1])
        for run in _cue_runs([block.text[first:last] for first, last in spans])
    ]


def _cut(block_id: str, first: int, last: int, n_documents: int | None = None) -> Cut:
    """Return the cut of an ad, or of stock text that stands in `n_documents` episodes."""
    rule = "ad" if n_documents is None else "stock_text"
    return Cut(
        block_id=block_id, first_char=first, last_char=last, rule=rule, n_documents=n_documents
    )


def _cue_runs(texts: Sequence[str]) -> Iterator[list[int]]:
    """Yield the indexes of the sentences with a cue, span by span."""
    strong = {n for n, text in enumerate(texts) if _cues("strong").search(text)}
    hits = strong | {n for n, text in enumerate(texts) if _cues("weak").search(text)}
    for n in strong:
        hits |= set(_sponsor_mentions(texts, n))
    run: list[int] = []
    for n in sorted(hits):
        if run and (n - run[-1] > _REACH_SENTENCES or n - run[0] > _MAX_AD_SENTENCES):
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
    for n in range(opening + 1, min(len(texts), opening + _MAX_AD_SENTENCES)):
        if n - last > _NAME_REACH_SENTENCES:
            return
        if mention.search(texts[n]):
            last = n
            yield n


_MAX_BREAK_SENTENCES = 40
_MAX_BREAK_WORDS = 700
# A break is announced in few words; a story that mentions one takes more.
_MAX_OPENING_WORDS = 20


# A sentence: its block, and the indexes of its start and end in it.
_Sentence = tuple[Block, int, int]


def find_breaks(blocks: Sequence[Block]) -> list[Cut]:
    """Return the cuts of an episode's breaks, from the opening phrase to the closing one.

    One speaker opens and closes a break, with at most 40 sentences and 700 words and at least one
    ad cue in between; without a cue it may be part of the talk and stays. A break that an ad opens
    ("this episode is brought to you by") has one speaker throughout.
    """
    sentences = [(block, *span) for block in blocks for span in sentence_spans(block.text)]
    texts = [block.text[first:last] for block, first, last in sentences]
    cuts: list[Cut] = []
    begin = 0
    while begin < len(sentences):
        end = _break_end(sentences, texts, begin) if _opens(texts[begin]) else None
        if end is None:
            begin += 1
            continue
        cuts += _break_cuts(sentences[begin : end + 1])
        begin = end + 1
    return cuts


def _opens(text: str) -> bool:
    if _cues("strong").search(text):
        return True
    return bool(_cues("open").search(text)) and count_words(text) <= _MAX_OPENING_WORDS


def _break_end(sentences: Sequence[_Sentence], texts: Sequence[str], begin: int) -> int | None:
    """Return the index of the sentence that closes the break opened at `begin`."""
    speaker = sentences[begin][0].speaker
    has_cue = is_ad = bool(_cues("strong").search(texts[begin]))
    words = 0
    for n in range(begin + 1, min(len(sentences), begin + _MAX_BREAK_SENTENCES)):
        same_speaker = sentences[n][0].speaker == speaker
        if same_speaker and n > begin + 1 and _cues("close").match(texts[n]):
            return n if has_cue else None
        words += count_words(texts[n])
        if words > _MAX_BREAK_WORDS or (is_ad and not same_speaker):
            return None
        has_cue |= bool(_cues("strong").search(texts[n]) or _cues("weak").search(texts[n]))
    return None


def _break_cuts(sentences: Sequence[_Sentence]) -> Iterator[Cut]:
    """Yield one cut for each block of a run of sentences."""
    for block_id, run in groupby(sentences, key=lambda sentence: sentence[0].id):
        (_, first, last), *rest = run
        yield _cut(block_id, first, rest[-1][2] if rest else last)


if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Hashes = npt.NDArray[np.uint64]

# Two transcripts of one recording share far more than this; two episodes never do.
_SAME_EPISODE = 0.25
_SAMPLED = 16
# A run in more episodes than this is no evidence that two of them are one recording.
_MAX_TWINS = 16
_MIN_LINE_WORDS = 5
_MAX_LINE_CHARS = 300
# A sentence is cut as a whole when this share of its words is stock.
_MIN_COVERED = 0.6
_ENDLESS_WORDS = 60
_NUMBER = re.compile(r"\d+(?:st|nd|rd|th)?")
_HASH_BASE = 0x9E3779B97F4A7C15

Episodes = Callable[[], Iterable[tuple[str, Sequence[Block]]]]


def find_stock(episodes: Episodes, settings: PassageSettings) -> dict[str, list[Cut]]:
    """Return the cuts of each block that has stock text.

    Each call of `episodes` yields (document id, turns in order) from the start. Transcripts of one
    recording count as one episode, so that a second form of an episode cuts nothing.
    """
    import numpy as np

    runs: list[Hashes] = []
    lines: list[set[int]] = []
    for _, blocks in episodes():
        runs.append(np.unique(_run_hashes(_words(blocks), settings.stock_min_words)))
        lines.append({_line_key(text) for block in blocks for text, _, _ in _lines(block.text)})
    clusters = _clusters(runs)
    if len(set(clusters)) < settings.stock_min_episodes:
        return {}
    stock, counts = _stock_runs(runs, clusters, settings.stock_min_episodes)
    common = _common_lines(lines, clusters, settings.stock_min_episodes)
    marker = _Marker(stock, counts, common, settings.stock_min_words)
    return {block_id: cuts for _, blocks in episodes() for block_id, cuts in marker.cuts(blocks)}


def _words(blocks: Sequence[Block]) -> list[str]:
    return [word for block in blocks for word in words(block.text)]


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest())


@lru_cache(maxsize=200_000)
def _key(word: str) -> int:
    """Return a word's hash; all numbers have one, so that "episode 12" equals "episode 13"."""
    return _hash("0" if _NUMBER.fullmatch(word) else word)


def _run_hashes(tokens: Sequence[str], n: int) -> Hashes:
    """Return the 64-bit hash of each run of n words, a polynomial over the words' hashes."""
    import numpy as np

    if len(tokens) < n:
        return np.empty(0, np.uint64)
    values = np.fromiter(map(_key, tokens), np.uint64, len(tokens))
    total = np.zeros(len(tokens) - n + 1, np.uint64)
    base = np.uint64(_HASH_BASE)
    with np.errstate(over="ignore"):
        for k in range(n):
            total = total * base + values[k : len(tokens) - n + 1 + k]
    return total


def _clusters(runs: Sequence[Hashes]) -> list[int]:
    """Return a number for each episode, the same for transcripts of one recording.

    They share a quarter of their runs; a sixteenth of the hashes is compared (FracMinHash).
    """
    holders: dict[int, list[int]] = defaultdict(list)
    sizes = []
    for n, run in enumerate(runs):
        sampled = run[run % _SAMPLED == 0].tolist()
        sizes.append(len(sampled))
        for value in sampled:
            holders[value].append(n)
    shared: Counter[tuple[int, int]] = Counter()
    for episodes in holders.values():
        if 2 <= len(episodes) <= _MAX_TWINS:
            shared.update(combinations(episodes, 2))
    cluster = list(range(len(runs)))
    for (one, two), n_shared in shared.items():
        if n_shared >= _SAME_EPISODE * max(1, min(sizes[one], sizes[two])):
            old, new = cluster[two], cluster[one]
            cluster = [new if number == old else number for number in cluster]
    return cluster


def _stock_runs(
    runs: Sequence[Hashes], clusters: Sequence[int], least: int
) -> tuple[Hashes, npt.NDArray[Any]]:
    """Return the sorted hashes that at least `least` episodes have, and the number of episodes."""
    import numpy as np

    members: dict[int, list[Hashes]] = defaultdict(list)
    for run, cluster in zip(runs, clusters, strict=True):
        members[cluster].append(run)
    together = np.concatenate([np.unique(np.concatenate(hashes)) for hashes in members.values()])
    values, counts = np.unique(together, return_counts=True)
    return values[counts >= least], counts[counts >= least]


def _common_lines(lines: Sequence[set[int]], clusters: Sequence[int], least: int) -> dict[int, int]:
    members: dict[int, set[int]] = defaultdict(set)
    for keys, cluster in zip(lines, clusters, strict=True):
        members[cluster] |= keys
    counts = Counter(key for keys in members.values() for key in keys)
    return {key: n for key, n in counts.items() if n >= least}


def _lines(text: str) -> Iterator[tuple[str, int, int]]:
    """Yield each short paragraph with its span; a longer one is found by its runs."""
    for match in PARAGRAPH.finditer(text):
        short = match.end() - match.start() <= _MAX_LINE_CHARS
        if short and len(words(match.group())) >= _MIN_LINE_WORDS:
            yield match.group(), match.start(), match.end()


def _line_key(text: str) -> int:
    return _hash(" ".join(str(_key(word)) for word in words(text)))


@dataclass(frozen=True, slots=True)
class _Marker:
    """Marks the stock text of an episode, sentence by sentence."""

    stock: Hashes
    counts: npt.NDArray[Any]
    lines: dict[int, int]
    n_words: int

    def cuts(self, blocks: Sequence[Block]) -> Iterator[tuple[str, list[Cut]]]:
        """Yield (block id, cuts) of the turns that hold stock text."""
        covered = self._covered(_words(blocks))
        at = 0
        for block in blocks:
            n_words = len(words(block.text))
            cuts = [
                *self._sentences(block, covered[at : at + n_words]),
                *self._whole_lines(block),
            ]
            at += n_words
            if cuts:
                yield block.id, merge_cuts(block.id, cuts, block.text)

    def _covered(self, tokens: Sequence[str]) -> list[int]:
        """Return for each word the number of episodes that share a run around it, else 0."""
        import numpy as np

        hashes = _run_hashes(tokens, self.n_words)
        if not len(hashes) or not len(self.stock):
            return [0] * len(tokens)
        place = np.minimum(np.searchsorted(self.stock, hashes), len(self.stock) - 1)
        here = np.where(self.stock[place] == hashes, self.counts[place], 0)
        covered = np.zeros(len(tokens), here.dtype)
        for k in range(self.n_words):
            np.maximum(covered[k : k + len(here)], here, out=covered[k : k + len(here)])
        return list(covered.tolist())

    def _sentences(self, block: Block, covered: Sequence[int]) -> Iterator[Cut]:
        if not any(covered):
            return
        spans = word_spans(block.text)
        sentences = sentence_spans(block.text)
        for n, (first, last) in enumerate(sentences):
            inside = [k for k, (_, a, b) in enumerate(spans) if first <= a and b <= last]
            marked = [k for k in inside if covered[k]]
            # A question at the end of a turn was really asked, and somebody answered it.
            if not marked or (n == len(sentences) - 1 and _is_question(block.text[first:last])):
                continue
            n_documents = max(covered[k] for k in marked)
            if len(marked) >= _MIN_COVERED * len(inside):
                yield _cut(block.id, first, last, n_documents)
            elif len(inside) > _ENDLESS_WORDS:
                for run in _consecutive(marked):
                    yield _cut(block.id, spans[run[0]][1], spans[run[-1]][2], n_documents)

    def _whole_lines(self, block: Block) -> Iterator[Cut]:
        for text, first, last in _lines(block.text):
            n_documents = self.lines.get(_line_key(text))
            if n_documents and not _is_question(text):
                yield _cut(block.id, first, last, n_documents)


def _is_question(text: str) -> bool:
    return text.rstrip("\"'”’»)」』 \n").endswith(("?", "？"))


def _consecutive(numbers: Sequence[int]) -> Iterator[list[int]]:
    for _, run in groupby(enumerate(numbers), lambda item: item[1] - item[0]):
        yield [number for _, number in run]
