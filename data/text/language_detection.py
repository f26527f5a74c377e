"""Detect the language of a text by its script and its function words."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from functools import cache

from memoirist.data.text.words import CJK_CHARACTER, function_words, is_cjk, words

_KANA = re.compile(r"[\u3041-\u3096\u30a1-\u30fa]")
_HANGUL = re.compile(r"[\uac00-\ud7af]")
# Letters that one of the languages alone has, or nearly so.
_LETTERS = {
    "de": re.compile(r"[ßäöü]"),
    "fr": re.compile(r"[çœêèàùâîû]|\b[dlnsjmtcDLNSJMTC]['’](?=[a-zéèêàâîûhœ]{3})"),
    "es": re.compile(r"[ñ]"),
    "pt": re.compile(r"[ãõ]"),
}
LANGUAGES = ("en", "de", "fr", "es", "it", "nl", "pt")


def detect_language(text: str) -> str:
    """Return the ISO 639-1 code by script, then by function words; "und" where neither decides.

    Chinese is "zh" in traditional and in simplified characters. Japanese has kana among its
    characters, a tenth of them and more; a few in a Chinese text (の, or marks of notes) are none.
    A word that several languages share counts for each of them in part.
    """
    sampled = text[:20_000]
    if is_cjk(sampled):
        characters = len(CJK_CHARACTER.findall(sampled))
        if len(_KANA.findall(sampled)) >= 0.1 * characters:
            return "ja"
        return "ko" if len(_HANGUL.findall(sampled)) >= 0.2 * characters else "zh"
    tokens = words(sampled)
    weights = _weights()
    scores: defaultdict[str, float] = defaultdict(float)
    hits: Counter[str] = Counter()
    for word in tokens:
        for lang, weight in weights.get(word, ()):
            scores[lang] += weight
            hits[lang] += 1
    for lang, letters in _LETTERS.items():
        scores[lang] += 0.5 * len(letters.findall(sampled))
    for mark, lang in (("¿", "es"), ("¡", "es")):
        scores[lang] += sampled.count(mark)
        hits[lang] += 2 * sampled.count(mark)
    best = max(LANGUAGES, key=lambda lang: scores[lang])
    return best if hits[best] >= max(2.5, 0.08 * len(tokens)) else "und"


@cache
def _weights() -> dict[str, list[tuple[str, float]]]:
    """Return the languages of each function word with the weight of one occurrence."""
    owners: dict[str, list[str]] = {}
    for lang in LANGUAGES:
        for word in function_words(lang):
            owners.setdefault(word, []).append(lang)
    return {w: [(lang, 1 / len(langs)) for lang in langs] for w, langs in owners.items()}
