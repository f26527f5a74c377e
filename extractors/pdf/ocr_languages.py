"""What tesseract calls the languages that the rest of the world names by two letters."""

from __future__ import annotations

from collections.abc import Sequence

_CODES = {
    "ar": ("ara",),
    "cs": ("ces",),
    "da": ("dan",),
    "de": ("deu",),
    "el": ("ell",),
    "en": ("eng",),
    "es": ("spa",),
    "fi": ("fin",),
    "fr": ("fra",),
    "he": ("heb",),
    "hu": ("hun",),
    "it": ("ita",),
    "ja": ("jpn",),
    "ko": ("kor",),
    "la": ("lat",),
    "nl": ("nld",),
    "no": ("nor",),
    "pl": ("pol",),
    "pt": ("por",),
    "ro": ("ron",),
    "ru": ("rus",),
    "sv": ("swe",),
    "tr": ("tur",),
    "uk": ("ukr",),
    "zh": ("chi_sim",),
}


def codes_of(languages: Sequence[str]) -> list[str]:
    """Return tesseract's codes of languages; a code that is no ISO 639-1 one is taken for its own.

    Without any language it is English.
    """
    codes = (_CODES.get(each.split("-")[0].lower(), (each,)) for each in languages if each.strip())
    return list(dict.fromkeys(code for several in codes for code in several)) or ["eng"]
