"""Measure the share of a text in quotation marks, by the style that its book quotes in."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

# A book uses one style of quotation marks. A quotation that is not closed ends with its paragraph,
# as in a speech of several paragraphs.
STYLES = {
    "curly": re.compile(r"“[^”]*(?:”|$)"),
    "straight": re.compile(r"\"[^\"]*(?:\"|$)"),
    "guillemets": re.compile(r"«[^»]*(?:»|$)"),
    "reversed": re.compile(r"»[^«]*(?:«|$)"),
    "low": re.compile(r"„[^“”]*(?:[“”]|$)"),
    "corner": re.compile(r"「[^」]*(?:」|$)|『[^』]*(?:』|$)"),
    "single": re.compile(r"(?<!\w)[‘'](?=\S)[^\n]*?(?<=[\w.,!?])[’'](?!\w)"),
}
_GUILLEMET = re.compile(r"[«»]")
_DASHED = re.compile(r"^[\s\u3000]*(?:[—–―]|-\s)\s*(?=[\w¡¿«“\"'])")
# Languages where a paragraph that opens with a dash is speech: all of it, or up to the next dash.
_WHOLE_DASH = frozenset({"fr", "it"})
_PARTED_DASH = frozenset({"es", "pt"})


def quote_style(texts: Iterable[str], lang: str = "en") -> str | None:
    """Return the style that quotes most in a book's texts; None where nothing is quoted.

    German books print »so« and French ones « ainsi »: the first guillemet of a paragraph decides.
    Single quotes count only where there are no others, because apostrophes look like them.
    """
    lengths: Counter[str] = Counter()
    for paragraph in (p for text in texts for p in _even(text).split("\n\n")):
        first = _GUILLEMET.search(paragraph)
        for name, pattern in STYLES.items():
            if name in {"guillemets", "reversed"}:
                opens = "»" if name == "reversed" else "«"
                if first is None or first.group() != opens:
                    continue
            if name == "curly" and "„" in paragraph:
                continue  # the German closing mark is the English opening one
            lengths[name] += sum(len(m.group()) for m in pattern.finditer(paragraph))
    doubles = {name: n for name, n in lengths.items() if n and name != "single"}
    if doubles:
        best = max(doubles, key=lambda name: doubles[name])
        if doubles[best] * 4 >= lengths["single"]:
            return best
    return "single" if lengths["single"] else None


def quoted_share(text: str, lang: str = "en", style: str | None = None) -> float:
    """Return the share of characters in quotation marks of a style, or behind dialogue dashes.

    A French paragraph that opens with a dash is speech to its end; in a Spanish one the speech
    and its narrator take turns from dash to dash.
    """
    if not text:
        return 0.0
    even = _even(text)
    style = style or quote_style([even], lang)
    pattern = STYLES[style] if style else None
    quoted = 0
    for paragraph in even.split("\n\n"):
        dashed = _DASHED.match(paragraph) if lang in _WHOLE_DASH | _PARTED_DASH else None
        if dashed and lang in _PARTED_DASH:
            parts = re.split(r"[—–―]", paragraph[dashed.end() :])
            quoted += sum(len(part) for part in parts[::2])
        elif dashed:
            quoted += len(paragraph)
        elif pattern is not None:
            quoted += sum(len(m.group()) for m in pattern.finditer(paragraph))
    return min(1.0, quoted / len(text))


def _even(text: str) -> str:
    # Some typesetters set the closing mark on both sides.
    return text if "“" in text or "„" in text else text.replace("”", '"')
