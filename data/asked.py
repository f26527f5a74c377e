"""Whether somebody asks a persona if it is the person or a machine, and how its answer begins.

A small model forgets what its prompt and its training ask of it, so in a talk the first sentence of
such an answer does not hang on the model.
"""

from __future__ import annotations

import re
from functools import cache

from data.disclosure import languages, words_of

_TITLES = {"Sir", "Dame", "Lord", "Lady", "Mr", "Mr.", "Mrs", "Mrs.", "Ms", "Dr", "Dr.", "St."}


def opening(said: str, name: str, lang: str) -> str | None:
    """Return the disclosure that opens the answer to `said`, None where nobody asks for it.

    It comes in the language that is asked in; `lang`, the persona's own, is tried first.
    """
    for each in dict.fromkeys([lang, *languages()]):
        if any(pattern.search(said) for pattern in _patterns(each, name)):
            return words_of(each).opening.replace("{name}", name)
    return None


@cache
def _patterns(lang: str, name: str) -> list[re.Pattern[str]]:
    # Whoever asks may use the first or the last name alone; "the", "van" and "Sir" are no names.
    parts = [each for each in re.split(r"[\s·•]+", name) if len(each) > 1 and each not in _TITLES]
    parts = [each for each in parts if not each[0].islower()]
    any_name = "(?:" + "|".join(map(re.escape, [name, *parts[:1], *parts[-1:]])) + ")"
    told = words_of(lang).asks
    return [re.compile(each.replace("{name}", any_name), re.IGNORECASE) for each in told]
