"""Score what a reader made of a book against the book's true paragraphs; one way for all readers.

Spaces, quotation marks, dashes, ellipses, ligatures and case are levelled on both sides first: no
reader is blamed for what a typesetter chose. Neutral text (headings, title pages, contents,
licences) is neither asked for nor held against a reader.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_QUOTES = str.maketrans(
    {**dict.fromkeys("“”„«»″‟", '"'), **dict.fromkeys("‘’‚‹›′`´‛", "'"), "\u00ad": None}
)
_DASHES = re.compile(r"\s*(?:-{2,}|[–—―‒])[\s-]*")
_ELLIPSES = re.compile(r"\s*(?:(?:\.\s?){3,}|…)\s*")
_WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")
_NUMBER = re.compile(r"^(?:\d{1,3}|[ivxl]{1,6})$")
# A footnote counts as left in the text when this share of its 3-grams is found there.
_NOTE_SHARE = 0.8
GRAM = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What a book says.

    `paragraphs` are the author's prose (verse and quotations too); `neutral` is text that may
    stay or go; `notes` are footnotes, which must not stand in the prose. `heads` matches the
    book's running heads in levelled text. Without `exact` the file knows no paragraphs.
    """

    name: str
    path: Path
    paragraphs: tuple[str, ...]
    neutral: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    heads: re.Pattern[str] | None = None
    exact: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Shares of word 3-grams, paragraphs met to the letter, and furniture left in the prose."""

    precision: float
    recall: float
    exact: int
    truth: int
    heads: int
    folios: int
    notes: int
    missed: tuple[str, ...] = field(repr=False, default=())

    @property
    def f1(self) -> float:
        """Return the harmonic mean of precision and recall."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0


def level(text: str) -> str:
    """Return `text` without the differences that no reader is blamed for."""
    plain = unicodedata.normalize("NFKC", text.replace("…", "...")).translate(_QUOTES)
    plain = plain.replace("''", '"').casefold()
    plain = _DASHES.sub("-", plain)
    plain = _ELLIPSES.sub("... ", plain)
    return " ".join(plain.split())


def words(text: str) -> list[str]:
    """Return the words of levelled `text`; a dash between words parts them, a hyphen does not."""
    plain = unicodedata.normalize("NFKC", text.replace("…", "...")).translate(_QUOTES)
    return _WORD.findall(_DASHES.sub(" ", plain).casefold())


def grams(text_words: Sequence[str]) -> Counter[tuple[str, ...]]:
    """Count the word 3-grams of a text."""
    return Counter(zip(*(text_words[n:] for n in range(GRAM)), strict=False))


def score(truth: Truth, found: Sequence[str], min_words: int = 5) -> Score:
    """Score the paragraphs that a reader `found`.

    Recall is the share of the prose's 3-grams that are found; precision is the share of the
    found ones, less the neutral ones, that the prose has. Paragraphs under `min_words` words
    count for the 3-grams alone: that leaves numbers and one-word lines out of the exact ones.
    """
    wanted = grams(words(" ".join(truth.paragraphs)))
    # A heading that stands alone would make wrong grams with the text beside it.
    names = {level(each).rstrip(".") for each in truth.neutral}
    prose = [each for each in found if level(each).rstrip(".") not in names]
    got_words = words(" ".join(prose))
    got = grams(got_words)
    hits = wanted & got
    neutral = grams(words(" ".join(truth.neutral))) & (got - hits)
    blamed = got.total() - neutral.total()
    targets = Counter(level(each) for each in truth.paragraphs if len(each.split()) >= min_words)
    met = targets & Counter(level(each) for each in found)
    return Score(
        precision=hits.total() / blamed if blamed else 0.0,
        recall=hits.total() / wanted.total() if wanted else 0.0,
        exact=met.total(),
        truth=targets.total(),
        heads=_heads_left(truth, found),
        folios=_folios_left(truth, got_words),
        notes=sum(1 for note in truth.notes if _stands_in(note, got)),
        missed=tuple((targets - met).elements()),
    )


def _heads_left(truth: Truth, found: Iterable[str]) -> int:
    """Count running heads beyond those that the true text has for other reasons."""
    if truth.heads is None:
        return 0
    counted = len(truth.heads.findall(level(" ".join(found))))
    fair = len(truth.heads.findall(level(" ".join([*truth.paragraphs, *truth.neutral]))))
    return max(0, counted - fair)


def _folios_left(truth: Truth, got_words: Sequence[str]) -> int:
    """Count numbers that a folio may print beyond those of the true text and its notes."""
    fair = Counter(words(" ".join([*truth.paragraphs, *truth.neutral, *truth.notes])))
    left = Counter(got_words) - fair
    return sum(count for word, count in left.items() if _NUMBER.match(word))


def _stands_in(note: str, got: Counter[tuple[str, ...]]) -> bool:
    inside = grams(words(note))
    return bool(inside) and (inside & got).total() >= _NOTE_SHARE * inside.total()
