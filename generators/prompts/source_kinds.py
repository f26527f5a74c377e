"""The kinds of sources, each with a prompt of its own, and how the kind of a source is guessed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, get_args

from memoirist.data.passages.quotation import quote_style, quoted_share
from memoirist.data.schema.records import SourceKind
from memoirist.data.text.words import words

Kind = Literal["autobiography", "essay", "fiction", "talk", "prose"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_TITLES: dict[Kind, str] = {
    "autobiography": r"\b(?:autobiograph\w*|memoirs?|m[ée]moires?|my (?:own )?life|recollections"
    r"|erinnerungen|memorias|autobiograf\w*|confess?ion(?:s|es))\b|自传|自傳|自述|回忆录|回憶錄",
    "essay": r"\b(?:essays?|essais|ensayos|reflections)\b|随笔|隨筆|杂文|雜文",
    "fiction": r"\b(?:novel(?:la|le)?s?|roman|romance|novela|tales|short stories)\b|小说|小說",
}
_FIRST_PERSON = {
    "en": frozenset("i me my mine myself i'm i've i'd i'll".split()),
    "de": frozenset("ich mich mir mein meine meinen meinem meiner".split()),
    "fr": frozenset("je j'ai j'avais j'étais me moi mon ma mes".split()),
    "es": frozenset("yo me mi mis mí conmigo".split()),
    "zh": frozenset("我"),
}
# Measured: "I" and its forms are 1.6 to 7.2 of 100 words outside of speech in seven public-domain
# autobiographies, 0.8 in a book of reflections and at most 0.3 in seven papers; of an
# autobiography's paragraphs at most 16 % are speech. A tale with little speech in it (a satire with
# 2.8 and 19 %) reads as an autobiography.
_AUTOBIOGRAPHY_RATE = 1.2
_ESSAY_RATE = 0.4
_FICTION_SPEECH = 0.3
_HANS_PER_WORD = 1.6
_MOST_PASSAGES = 200


def guess_kind(
    source: SourceKind, title: str, passages: Sequence[str], lang: str
) -> tuple[Kind, str]:
    """Return the kind and the reason: by the source, its title, or its use of the first person.

    `interview.kind` and `interview.kinds` overrule this simple rule.
    """
    if source in {"podcast", "chat"}:
        return "talk", "a transcript" if source == "podcast" else "a chat"
    for kind, pattern in _TITLES.items():
        if re.search(pattern, title, re.IGNORECASE):
            return kind, f"its title {title!r}"
    rate, speech = _figures(passages, lang)
    reason = f"{rate:.1f} of 100 words are in the first person, {speech:.0%} of passages are speech"
    if rate >= _ESSAY_RATE and speech >= _FICTION_SPEECH:
        return "fiction", reason
    if rate >= _AUTOBIOGRAPHY_RATE:
        return "autobiography", reason
    return ("essay" if rate >= _ESSAY_RATE else "prose"), reason


def _figures(passages: Sequence[str], lang: str) -> tuple[float, float]:
    """Return "I" and its forms per 100 words outside of speech, and the share of speech."""
    step = max(1, len(passages) // _MOST_PASSAGES)
    sample = passages[::step]
    style = quote_style(sample, lang)
    speech = [quoted_share(text, lang, style) >= 0.3 for text in sample]
    narration = [text for text, is_speech in zip(sample, speech, strict=True) if not is_speech]
    story_words = [word for text in narration for word in words(text)]
    forms = _FIRST_PERSON.get(lang, _FIRST_PERSON["en"])
    scale = _HANS_PER_WORD if lang == "zh" else 1.0
    rate = 100 * scale * sum(word in forms for word in story_words) / max(1, len(story_words))
    return rate, sum(speech) / max(1, len(sample))
