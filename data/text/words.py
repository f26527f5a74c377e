"""Cut text into words and sentences, and tell which words carry content."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path

from memoirist.data.text import language_rules

# Han, kana and Hangul: scripts that are counted by characters, not by spaces.
CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uac00-\ud7af"
_WORD = re.compile(rf"[{CJK}]|[^\W_{CJK}]+(?:['’\-][^\W_{CJK}]+)*")
# The same where all is plain English, in two thirds of the time.
_PLAIN_WORD = re.compile(r"[a-z0-9]+(?:['\-][a-z0-9]+)*")
CJK_CHARACTER = re.compile(rf"[{CJK}]")
# A sentence ends at a mark, closing quotes included (also the German ones, “ and «, and a French »
# behind its space); Latin marks need white space behind them.
_CLOSERS = r"(?:[\"'”’“»«›‹)\]]|[ \u00a0\u202f]»)*"
_SENTENCE_END = re.compile(rf"[.!?…]+{_CLOSERS}(?=\s|$)|[。！？…]+[”’」』）》】]*")
_TERMINAL = re.compile(rf"[.!?…。！？]{_CLOSERS}[」』）》】”’]*$")
_LONGEST_END_CHARS = 40
_SHORT_CHARS = 400
_TOKEN = re.compile(r"[^\s\"'“”„‚‘’«»‹›()\[\]—–]+$")
_NUMERAL = re.compile(r"\d{1,3}|[IVXLC]{1,6}")


def words(text: str) -> list[str]:
    """Return the lower-cased words in order; each Han, kana or Hangul character is a word."""
    # A question is judged by a dozen rules, one after the other, and each wants its words.
    return list(_few_words(text)) if len(text) <= _SHORT_CHARS else _words_of(text)


@lru_cache(maxsize=64)
def _few_words(text: str) -> tuple[str, ...]:
    return tuple(_words_of(text))


def _words_of(text: str) -> list[str]:
    lowered = text.replace("’", "'").lower()
    if len(lowered) != len(text):  # a Turkish İ becomes two characters, and the second is no letter
        return [word.replace("’", "'").lower() for word in _WORD.findall(text)]
    return (_PLAIN_WORD if lowered.isascii() else _WORD).findall(lowered)


def count_words(text: str) -> int:
    """Count the words as `words` cuts them."""
    if len(text) <= _SHORT_CHARS:
        return len(_few_words(text))
    return len(_WORD.findall(text))


def word_spans(text: str) -> list[tuple[str, int, int]]:
    """Return each word as `words` cuts it, with its first character and the one behind it."""
    return [
        (match.group().replace("’", "'").lower(), match.start(), match.end())
        for match in _WORD.finditer(text)
    ]


def is_cjk(text: str) -> bool:
    """Tell whether at least a third of the letters are Han, kana or Hangul."""
    if text.isascii() or CJK_CHARACTER.search(text) is None:
        return False
    letters = sum(character.isalpha() for character in text)
    return letters > 0 and len(CJK_CHARACTER.findall(text)) * 3 >= letters


def sentences(text: str) -> list[str]:
    """Cut the text into sentences, closing quotes included.

    Abbreviations, initials and ordinals of English, German, French and Spanish ("z. B.", "Mme.",
    "3. Mai", "U. S. Grant") end none, and a number before its paragraph is no sentence.
    """
    found: list[str] = []
    start = 0
    for match in _SENTENCE_END.finditer(text):
        if match.group() == "." and _goes_on(text, start, match.start()):
            continue
        found.append(text[start : match.end()].strip())
        start = match.end()
    rest = text[start:].strip()
    return [sentence for sentence in [*found, rest] if sentence]


def _goes_on(text: str, start: int, dot: int) -> bool:
    """Tell whether the full stop at `dot` belongs to its word and not to the sentence."""
    token = _TOKEN.search(text, max(start, dot - 24), dot)
    if token is None:
        return False
    word = token.group()
    never, maybe, ordinal = _abbreviations()
    behind = text[dot + 1 : dot + 40].split(maxsplit=1)
    following = behind[0] if behind else ""
    if word in never or (len(word) == 1 and word.isupper()):
        return True
    if _NUMERAL.fullmatch(word):
        alone = not text[start : token.start()].strip()
        return alone or following[:1].islower() or following.strip(".,;:") in ordinal
    capital = following.lstrip("\"'“„«»‘¿¡(")[:1].isupper()
    spaced = len(word) == 1 and word.isalpha()  # "z. B.", "d. h.", "p. m."
    return (word in maybe or "." in word or spaced) and (
        not capital or (spaced and len(following.rstrip(".,;:")) == 1 and following != "I")
    )


@cache
def _abbreviations() -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """Return what never ends a sentence, what does before a capital, and what ordinals count."""
    tables = [language_rules.sentence_words(code) for code in language_rules.CODES]
    never, maybe, ordinal = (frozenset().union(*kind) for kind in zip(*tables, strict=True))
    return never, maybe, ordinal


def ends_sentence(text: str) -> bool:
    """Tell whether the text ends in terminal punctuation, closing quotes allowed behind it."""
    return _TERMINAL.search(text.rstrip()[-_LONGEST_END_CHARS:]) is not None


def normalise(text: str) -> str:
    """Return the words joined by spaces after NFKC: what exact duplicates are compared by."""
    return " ".join(words(unicodedata.normalize("NFKC", text)))


@cache
def stop_words(lang: str) -> frozenset[str]:
    """Return the language's most frequent function words, empty for a language without a list.

    English has 34 of them, by which real books show the shares that QUALITY's gate was measured
    with (median .39); for Chinese they are characters. "backchannel" names what a listener says
    to show that he listens, in several languages.
    """
    path = Path(__file__).parent / "stopwords" / f"{lang}.txt"
    return frozenset(path.read_text("utf-8").split()) if path.exists() else frozenset()


@cache
def function_words(lang: str) -> frozenset[str]:
    """Return the stop words and the wider list of function words that carry no content."""
    path = Path(__file__).parent / "stopwords" / f"{lang}.more.txt"
    more = frozenset(path.read_text("utf-8").split()) if path.exists() else frozenset()
    return stop_words(lang) | more


@lru_cache(maxsize=65_536)
def stem(word: str, lang: str) -> str:
    """Cut the commonest endings off a word, enough to see that "asked" and "asking" are one."""
    if lang != "en" or len(word) < 5:
        return word if lang == "zh" or len(word) < 7 else word[:6]
    base = re.sub(r"'s?$", "", word)
    for ending in ("ingly", "edly", "ness", "ment", "ing", "ies", "ied", "ed", "es", "ly", "s"):
        if base.endswith(ending) and len(base) - len(ending) >= 3:
            base = base[: -len(ending)]
            break
    return base.rstrip("ey") or base


def content_stems(found: Sequence[str], lang: str) -> set[str]:
    """Return the stems of those words that carry content; character pairs for Chinese."""
    skipped = function_words(lang)
    if lang == "zh":
        kept = [w for w in found if w not in skipped]
        return {a + b for a, b in itertools.pairwise(kept)} or set(kept)
    return {stem(w, lang) for w in set(found) - skipped if len(w) > 2}
