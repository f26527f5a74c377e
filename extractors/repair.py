"""The bounded repairs of typeset text: hyphens at line ends, ligatures, spaces, nothing else."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

_LIGATURES = {
    "\ufb00": "ff",
    "\ufb01": "fi",
    "\ufb02": "fl",
    "\ufb03": "ffi",
    "\ufb04": "ffl",
    "\ufb05": "st",
    "\ufb06": "st",
}
_LETTERS = str.maketrans(_LIGATURES)
_SPACES = re.compile(r"[ \t\r\f\v\u00a0\u2000-\u200a\u202f\u205f]+")
_WORD = re.compile(r"[^\W\d_]+(?:[-'’][^\W\d_]+)*")
# A hyphen that a typesetter put at the line's end: soft hyphen and U+FFFE are nothing else.
_SOFT = "\u00ad\ufffe\uffff"
_HYPHENS = "-\u2010" + _SOFT
_BROKEN = re.compile(rf"([^\W_]+(?:['’-][^\W_]+)*)[{_HYPHENS}]$")
_HEAD = re.compile(r"([^\W_]+(?:['’][^\W_]+)*)(?:-[^\W_]+)*")
_DASH_END = re.compile(r"[^\s][—–]$")
# Halves of words that English writes as one; both of them stand alone too, so that only this
# list tells "any-where" at a line's end from "darning-needle".
_LEADING = re.compile(
    "any|some|every|no|not|never|where|there|here|when|what|who|how|him|her|them|your|our|my|it"
    "|out|with|under|over|up|down|fore|for|in|un|re|dis|mis|pre|per|con|com|be|en|em|im|ex|ad|ab"
    "|al|after|inter|trans|sub|court"
)
_TRAILING = re.compile(
    "less|ness|ful|wards?|where|with|withal|from|self|selves|body|things?|ever|times?|upon|fore"
    "|able|ment|ship|hood|some|wise|man|men|woman|women|out|over|in|into|on|to|ing|ed|ers?|est|ly"
    "|more|land|side|stand|stood|hold|held|son|days?|ways?|backs?"
)
_LAST_CHARS = 60
_ENDINGS = ("s", "es", "d", "ed", "ing", "ly", "er", "ers", "or", "’s", "'s")
_CJK = re.compile(r"[\u3000-\u30ff\u3400-\u9fff\uff00-\uffef]")


def tidy(text: str) -> str:
    """Return `text` in NFC with ligatures as letters and single spaces."""
    spread = unicodedata.normalize("NFC", text.translate(_LETTERS))
    return _SPACES.sub(" ", spread).strip()


def vocabulary_of(lines: Iterable[str]) -> Counter[str]:
    """Count the words of a document, whole hyphenated ones too, without those that lines break."""
    words: Counter[str] = Counter()
    broken = False
    for line in lines:
        text = tidy(line)
        found = _WORD.findall(text.casefold())
        if broken:
            found = found[1:]
        broken = bool(_BROKEN.search(text))
        words.update(found[:-1] if broken else found)
    return words


def joined(lines: Sequence[str], words: Counter[str]) -> str:
    """Join the lines of a paragraph, mending the words that line ends break."""
    text = ""
    for line in lines:
        text = _join(text, tidy(line), words)
    return text.translate({ord(mark): None for mark in _SOFT})


def _join(text: str, line: str, words: Counter[str]) -> str:
    if not text or not line:
        return text or line
    # Only the last word matters, and a paragraph may be long.
    end = text[-_LAST_CHARS:]
    broken, head = _BROKEN.search(end), _HEAD.match(line)
    if broken and head:
        if text[-1] in _SOFT or not _keeps_hyphen(broken.group(1), head, words):
            return text[:-1] + line
        return text + line
    if text[-1] in _SOFT:
        return text[:-1] + line
    if _DASH_END.search(end) or (text[-1] in "-/" and not text.endswith(" -")):
        return text + line
    if _CJK.match(text[-1]) and _CJK.match(line[0]):
        return text + line
    return f"{text} {line}"


def _keeps_hyphen(left: str, head: re.Match[str], words: Counter[str]) -> bool:
    """Tell whether the document writes left-right with its hyphen, by its own vocabulary."""
    left, right, compound = left.casefold(), head[1].casefold(), head[0].casefold()
    if left[-1].isdigit() or right[0].isdigit():
        return True
    plain, hyphened = words[left + right], words[f"{left}-{right}"]
    if compound != right:
        # something-which-you- | do-not: a chain goes on over the line's end.
        if "-" in left:
            return True
        plain += words[left + compound]
        hyphened += words[f"{left}-{compound}"]
    if plain or hyphened:
        return hyphened > plain
    last = left.rsplit("-", 1)[-1]
    if last == "self" and len(right) > 3:
        return True
    if last.endswith(("ing", "ed")) and len(last) > 5 and _known(right, words):
        return True
    if _LEADING.fullmatch(last) or _TRAILING.fullmatch(right) or min(len(last), len(right)) < 3:
        return False
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
