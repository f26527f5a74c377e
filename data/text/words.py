"""Cut text into words and sentences, and select the words that carry content."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from memoirist.data.text import language_rules

if TYPE_CHECKING:
    from opencc import OpenCC

# Han, kana and Hangul: scripts that are counted by characters, not by spaces.
CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uac00-\ud7af"
_WORD = re.compile(rf"[{CJK}]|[^\W_{CJK}]+(?:['’\-][^\W_{CJK}]+)*")
# The same where all is plain English, in two thirds of the time.
_PLAIN_WORD = re.compile(r"[a-z0-9]+(?:['\-][a-z0-9]+)*")
_HAN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003134f]")
CJK_CHARACTER = re.compile(rf"[{CJK}]")
# A sentence ends at a mark and its closing quotes (also the German “ and «, and a French » after
# a space); Latin marks need white space after them.
_CLOSERS = r"(?:[\"'”’“»«›‹)\]]|[ \u00a0\u202f]»)*"
_SENTENCE_END = re.compile(rf"[.!?…]+{_CLOSERS}(?=\s|$)|[。！？…]+[”’」』）》】]*")
_TERMINAL = re.compile(rf"[.!?…。！？]{_CLOSERS}[」』）》】”’]*$")
_LONGEST_END_CHARS = 40
_SHORT_CHARS = 400
_TOKEN = re.compile(r"[^\s\"'“”„‚‘’«»‹›()\[\]—–]+$")
# Lines up to an empty one.
PARAGRAPH = re.compile(r"(?:[^\n]|\n(?![ \t]*\n))+")
_NUMERAL = re.compile(r"\d{1,3}|[IVXLC]{1,6}")


def words(text: str) -> list[str]:
    """Return the lower-cased words in order; each Han, kana or Hangul character is a word."""
    # A dozen rules ask for the words of one question in a row.
    return list(_few_words(text)) if len(text) <= _SHORT_CHARS else _words_of(text)


@lru_cache(maxsize=64)
def _few_words(text: str) -> tuple[str, ...]:
    return tuple(_words_of(text))


def _words_of(text: str) -> list[str]:
    lowered = text.replace("’", "'").lower()
    if len(lowered) != len(text):  # İ becomes two characters, the second of which is no letter
        return [word.replace("’", "'").lower() for word in _WORD.findall(text)]
    return (_PLAIN_WORD if lowered.isascii() else _WORD).findall(lowered)


def count_words(text: str) -> int:
    """Count the words as `words` cuts them."""
    if len(text) <= _SHORT_CHARS:
        return len(_few_words(text))
    return len(_WORD.findall(text))


def word_spans(text: str) -> list[tuple[str, int, int]]:
    """Return each word as `words` cuts it, with the indexes of its start and end."""
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
    "3. Mai", "U. S. Grant") end no sentence, and neither does the number of a paragraph.
    """
    result: list[str] = []
    start = 0
    for match in _SENTENCE_END.finditer(text):
        if match.group() == "." and _goes_on(text, start, match.start()):
            continue
        result.append(text[start : match.end()].strip())
        start = match.end()
    rest = text[start:].strip()
    return [sentence for sentence in [*result, rest] if sentence]


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Return the start and end of each sentence; no sentence crosses a paragraph."""
    spans: list[tuple[int, int]] = []
    for paragraph in PARAGRAPH.finditer(text):
        end = paragraph.start()
        for sentence in sentences(paragraph.group()):
            start = text.index(sentence, end)
            end = start + len(sentence)
            spans.append((start, end))
    return spans


def _goes_on(text: str, start: int, dot: int) -> bool:
    """Tell whether the full stop at `dot` belongs to its word and not to the sentence."""
    token = _TOKEN.search(text, max(start, dot - 24), dot)
    if token is None:
        return False
    word = token.group()
    never, maybe, ordinal = _abbreviations()
    following = next(iter(text[dot + 1 : dot + 40].split(maxsplit=1)), "")
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
    """Return the words that never end a sentence, that may, and that follow an ordinal."""
    tables = [language_rules.sentence_words(code) for code in language_rules.CODES]
    never, maybe, ordinal = (frozenset().union(*kind) for kind in zip(*tables, strict=True))
    return never, maybe, ordinal


def join_sentences(parts: Sequence[str]) -> str:
    """Join sentences by a space, Chinese ones by nothing."""
    return ("" if parts and is_cjk(parts[0]) else " ").join(parts)


def ends_sentence(text: str) -> bool:
    """Tell whether the text ends in terminal punctuation, with or without closing quotes."""
    return _TERMINAL.search(text.rstrip()[-_LONGEST_END_CHARS:]) is not None


def has_han(text: str) -> bool:
    """Tell whether the text has a Han character."""
    return _HAN.search(text) is not None


def simplified(text: str) -> str:
    """Return Chinese in simplified characters, by OpenCC; other text as it is.

    To compare with, never to show or to learn: several traditional characters become one.
    """
    return _converter().convert(text) if has_han(text) else text


@cache
def _converter() -> OpenCC:
    # Loaded for Chinese names alone: everything else starts without it.
    from opencc import OpenCC

    return OpenCC("t2s")


@cache
def stop_words(lang: str) -> frozenset[str]:
    """Return the language's most frequent function words, empty for a language without a list.

    English has 34 of them; the shares of QUALITY's filter were measured with these (median .39).
    For Chinese they are characters. Two lists have words of several languages: "backchannel" those
    that only show that somebody listens, "fillers" those that name nothing talked about.
    """
    return _word_list(f"{lang}.txt")


def _word_list(name: str) -> frozenset[str]:
    path = Path(__file__).parent / "stopwords" / name
    return frozenset(path.read_text("utf-8").split()) if path.exists() else frozenset()


@cache
def function_words(lang: str) -> frozenset[str]:
    """Return the stop words and the wider list of function words that carry no content."""
    return stop_words(lang) | _word_list(f"{lang}.more.txt")


@lru_cache(maxsize=65_536)
def stem(word: str, lang: str) -> str:
    """Cut the most common endings off a word, so that "asked" and "asking" have one stem."""
    if lang != "en" or len(word) < 5:
        return word if lang == "zh" or len(word) < 7 else word[:6]
    base = re.sub(r"'s?$", "", word)
    for ending in ("ingly", "edly", "ness", "ment", "ing", "ies", "ied", "ed", "es", "ly", "s"):
        if base.endswith(ending) and len(base) - len(ending) >= 3:
            base = base[: -len(ending)]
            break
    return base.rstrip("ey") or base


def content_stems(tokens: Sequence[str], lang: str) -> set[str]:
    """Return the stems of those words that carry content; character pairs for Chinese."""
    skipped = function_words(lang)
    if lang == "zh":
        kept = [w for w in tokens if w not in skipped]
        return {a + b for a, b in itertools.pairwise(kept)} or set(kept)
    return {stem(w, lang) for w in set(tokens) - skipped if len(w) > 2}
