"""Find stock text, which several episodes have word for word: intros, ads and farewells.

The first pass hashes every run of `stock_min_words` words and counts the episodes that have it; the
second marks the runs that enough episodes have. Memory: 16 bytes a word, and the words of one
episode at a time.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import combinations
from typing import TYPE_CHECKING, Any

from memoirist.data.passages.segmentation import PassageSettings
from memoirist.data.schema.records import Block, Cut
from memoirist.data.text.words import word_spans, words
from memoirist.data.transcripts.removed_spans import PARAGRAPH, merge_cuts, sentence_spans

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
_BASE = 0x9E3779B97F4A7C15

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
    base = np.uint64(_BASE)
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


class _Marker:
    """Marks the stock text of an episode, sentence by sentence."""

    def __init__(
        self, stock: Hashes, counts: npt.NDArray[Any], lines: dict[int, int], n_words: int
    ) -> None:
        self.stock = stock
        self.counts = counts
        self.lines = lines
        self.n_words = n_words

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
                yield _cut(block, first, last, n_documents)
            elif len(inside) > _ENDLESS_WORDS:
                for run in _consecutive(marked):
                    yield _cut(block, spans[run[0]][1], spans[run[-1]][2], n_documents)

    def _whole_lines(self, block: Block) -> Iterator[Cut]:
        for text, first, last in _lines(block.text):
            n_documents = self.lines.get(_line_key(text))
            if n_documents and not _is_question(text):
                yield _cut(block, first, last, n_documents)


def _cut(block: Block, first: int, last: int, n_documents: int) -> Cut:
    return Cut(
        block_id=block.id,
        first_char=first,
        last_char=last,
        rule="stock_text",
        n_documents=n_documents,
    )


def _is_question(text: str) -> bool:
    return text.rstrip("\"'”’»)」』 \n").endswith(("?", "？"))


def _consecutive(numbers: Sequence[int]) -> Iterator[list[int]]:
    run: list[int] = []
    for n in numbers:
        if run and n != run[-1] + 1:
            yield run
            run = []
        run.append(n)
    if run:
        yield run
