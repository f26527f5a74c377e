"""Join a plain text's lines and take out the marks that stand for italics, bold and drop caps."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from memoirist.extractors.repair import joined, vocabulary_of
from memoirist.extractors.text.text_unit import tidied

_ITALICS = re.compile(r"(?<![\w_])_(?=[^\s_])([^_]{1,600}?)(?<=[^\s_])_(?![\w_])", re.DOTALL)
_BOLD = re.compile(r"(?<![\w=])=(?=[^\s=])([^=]{1,300}?)(?<=[^\s=])=(?![\w=])", re.DOTALL)
_DROP_CAP = re.compile(r"^\|(?=\S)")
_BROKEN = re.compile(r"([^\W\d_]{2,})-$")
_HEAD = re.compile(r"^([^\W\d_]{2,})")
_NO_SPACE_END = re.compile(r"(?:--|[—–/])$")
_NO_SPACE_START = re.compile(r"^(?:--(?!\s)|—)")
_CJK_END = re.compile(r"[\u3000-\u30ff\u3400-\u9fff\ufe30-\ufe4f\uff00-\uffef]$")
_CJK_START = re.compile(r"^[\u3000-\u30ff\u3400-\u9fff\ufe30-\ufe4f\uff00-\uffef]")
# More line ends than this in the middle of a word are a typesetter's, not the author's.
_TYPESET_SHARE = 0.02

# A word at a line's end is looked for in so many characters, and in lines that a page can hold.
_LAST_CHARS, _MAX_LINE_CHARS = 80, 2000


class Joiner:
    """Joins lines as the whole text asks for, and counts what it repairs."""

    def __init__(self, lines: Sequence[str], *, cjk: bool) -> None:
        self._cjk = cjk
        self.repairs: Counter[str] = Counter()
        filled = [line.strip() for line in lines if line.strip()]
        n_broken = sum(bool(_BROKEN.search(line[-_LAST_CHARS:])) for line in filled)
        self._words = (
            vocabulary_of(line for line in filled if len(line) < _MAX_LINE_CHARS)
            if n_broken
            else Counter[str]()
        )
        self._typeset = n_broken > max(20, _TYPESET_SHARE * len(filled))

    def prose(self, lines: Sequence[str]) -> str:
        """Return the lines as one paragraph."""
        if self._typeset:
            text = joined([line.strip() for line in lines], self._words)
        else:
            parts: list[str] = []
            for line in lines:
                self._add(parts, line.strip(" \u3000"))
            text = "".join(parts)
        return self._unmarked(tidied(text.replace("\n", " ")))

    def verse(self, lines: Sequence[str]) -> str:
        """Return the lines one below the other."""
        return self._unmarked(tidied("\n".join(line.strip(" \u3000") for line in lines)))

    def plain(self, lines: Sequence[str]) -> str:
        """Return the lines of a heading."""
        return self._unmarked(tidied(" ".join(line.strip(" \u3000") for line in lines)))

    def _add(self, parts: list[str], line: str) -> None:
        """Add a line to a paragraph's parts, with a space before it where words meet."""
        if not line:
            return
        # Only the end of the line before matters, however long the paragraph is.
        before = parts[-1][-_LAST_CHARS:] if parts else ""
        broken, head = _BROKEN.search(before), _HEAD.match(line)
        if broken and head and not before.endswith("--"):
            whole = (broken[1] + head[1]).casefold()
            hyphened = f"{broken[1]}-{head[1]}".casefold()
            # Only the book itself can say that it writes the word without the hyphen.
            if self._words[whole] and not self._words[hyphened] and head[1].islower():
                self.repairs["words joined that a line's end had broken"] += 1
                parts[-1] = parts[-1][:-1]
        elif not (
            not before
            or _NO_SPACE_END.search(before)
            or _NO_SPACE_START.match(line)
            or (self._cjk and _CJK_END.search(before) and _CJK_START.match(line))
        ):
            parts.append(" ")
        parts.append(line)

    def _unmarked(self, text: str) -> str:
        for pattern, what in (
            (_ITALICS, "pairs of _ for italics taken out"),
            (_BOLD, "pairs of = for bold taken out"),
        ):
            text, n = pattern.subn(r"\1", text)
            self.repairs[what] += n
        text, n = _DROP_CAP.subn("", text)
        self.repairs["bars before drop capitals taken out"] += n
        return text
