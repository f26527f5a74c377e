"""Repair typeset text within limits: hyphens at line ends, ligatures and spaces, nothing else."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

from memoirist.extractors.word_tables import any_of

_LIGATURE = re.compile("[\ufb00-\ufb06]")
_ODD_SPACES = re.compile(r"[\t\r\f\v\u00a0\u2000-\u200a\u202f\u205f]|  ")
_SPACES = re.compile(r"[ \t\r\f\v\u00a0\u2000-\u200a\u202f\u205f]+")
_WORD = re.compile(r"[^\W\d_]+(?:[-'’][^\W\d_]+)*")
# Characters that are always a typesetter's hyphen at a line's end.
_SOFT = "\u00ad\ufffe\uffff"
_SOFT_MARKS = re.compile(f"[{_SOFT}]")
_HYPHENS = "-\u2010" + _SOFT
_BROKEN = re.compile(rf"([^\W_]+(?:['’-][^\W_]+)*)[{_HYPHENS}]$")
_HEAD = re.compile(r"([^\W_]+(?:['’][^\W_]+)*)(?:-[^\W_]+)*")
_LEADING = re.compile(any_of("repair", "leading"))
_TRAILING = re.compile(any_of("repair", "trailing"))
_FRENCH_TAIL = re.compile(any_of("repair", "french_tail"))
_ELISION = re.compile(r"^(?:[cdjlmnst]|qu|jusqu|lorsqu|puisqu)['’]")
_FRENCH_HALF = 4
_LAST_CHARS = 60
_ENDINGS = ("s", "es", "d", "ed", "ing", "ly", "er", "ers", "or", "’s", "'s")
_CJK = re.compile(r"[\u3000-\u30ff\u3400-\u9fff\uff00-\uffef]")


def tidy(text: str) -> str:
    """Return `text` in NFC with ligatures as letters and single spaces."""
    # Nearly every line is clean, and a book has tens of thousands of them.
    if not text.isascii():
        text = _LIGATURE.sub(lambda match: unicodedata.normalize("NFKC", match[0]), text)
        text = unicodedata.normalize("NFC", text)
    if _ODD_SPACES.search(text):
        text = _SPACES.sub(" ", text)
    return text.strip()


def vocabulary_of(lines: Iterable[str]) -> Counter[str]:
    """Count the words of a document, also hyphenated ones, without those that lines break."""
    whole: list[str] = []
    broken = False
    for line in lines:
        text = tidy(line)
        if broken:
            text = text.partition(" ")[2]
        broken = text[-1:] in _HYPHENS and bool(text)
        whole.append(text.rpartition(" ")[0] if broken else text)
    return Counter(_WORD.findall("\n".join(whole).casefold()))


def joined(lines: Sequence[str], words: Counter[str]) -> str:
    """Join the lines of a paragraph and the words that line ends break."""
    text = ""
    for line in lines:
        text = _join(text, tidy(line), words)
    return _SOFT_MARKS.sub("", text)


def _join(text: str, line: str, words: Counter[str]) -> str:
    if not text or not line:
        return text or line
    last = text[-1]
    if last in _HYPHENS:
        # Only the last word matters, and a paragraph may be long.
        broken, head = _BROKEN.search(text[-_LAST_CHARS:]), _HEAD.match(line)
        if last in _SOFT:
            return text[:-1] + line
        if broken and head:
            return (text if _keeps_hyphen(broken.group(1), head, words) else text[:-1]) + line
    closed = last in "—–-/" and text[-2:-1].strip()
    if closed or (_CJK.match(last) and _CJK.match(line)):
        return text + line
    return f"{text} {line}"


def _keeps_hyphen(left: str, head: re.Match[str], words: Counter[str]) -> bool:
    """Tell whether the document writes left-right with its hyphen, by its own vocabulary."""
    small, capitals = left.casefold(), left.isupper() and head[1].isupper()
    # A figure, or a capital inside a word: 1838-9, Jean-Baptiste, Schwarz-Weiß, but McDonald.
    if left[-1].isdigit() or head[1][0].isdigit():
        return True
    if head[1][0].isupper() and not capitals and small not in ("mc", "mac"):
        return True
    right, compound = head[1].casefold(), head[0].casefold()
    plain, hyphened = words[small + right], words[f"{small}-{right}"]
    if compound != right:
        # something-which-you- | do-not: a chain of hyphens continues over the line's end.
        if "-" in small:
            return True
        plain += words[small + compound]
        hyphened += words[f"{small}-{compound}"]
    if plain or hyphened:
        return hyphened > plain
    last = small.rsplit("-", 1)[-1]
    # The more frequent article tells the language.
    if words["les"] > words["the"]:
        return _keeps_in_french(_ELISION.sub("", last), right, words)
    if last == "self" and len(right) > 3:
        return True
    if last.endswith(("ing", "ed")) and len(last) > 5 and _known(right, words):
        return True
    if _LEADING.fullmatch(last) or _TRAILING.fullmatch(right) or min(len(last), len(right)) < 3:
        return False
    return _two_words(last, right, words)


def _keeps_in_french(last: str, right: str, words: Counter[str]) -> bool:
    if _FRENCH_TAIL.fullmatch(right) and (words[last] or last == "t"):
        return True
    # Shorter halves are syllables that happen to be words: des-sous.
    return min(len(last), len(right)) >= _FRENCH_HALF and _two_words(last, right, words)


def _two_words(last: str, right: str, words: Counter[str]) -> bool:
    return _known(last, words) and _known(right, words) and not _known(last + right, words)


def _known(word: str, words: Counter[str]) -> bool:
    """Tell whether `word`, or another form of it (plural, -ed, -ing, -er), occurs."""
    if words[word]:
        return True
    stems = {word, *(word[: -len(end)] for end in _ENDINGS if word.endswith(end))}
    stems |= {stem[:-1] for stem in stems if stem[-2:-1] == stem[-1:]}
    return any(
        words[stem] or any(words[stem + end] for end in _ENDINGS) for stem in stems if len(stem) > 3
    )
