"""The bounds of a polished answer: what tells a repair from a rewriting, in code, not by trust.

The thresholds are proposals of our own, set so that whatever is doubtful is refused: a refused
answer stays as it was said or written.
"""

from __future__ import annotations

import re
import unicodedata
from difflib import SequenceMatcher

from memoirist.data.text.language_detection import detect_language
from memoirist.data.text.sanitizer import has_control, neutralise
from memoirist.data.text.words import (
    content_stems,
    ends_sentence,
    is_cjk,
    stop_words,
    word_spans,
    words,
)

COUNTED = {
    "en": "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
    " sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety"
    " hundred hundreds thousand thousands million millions billion dozen dozens half twice",
    "de": "zwei drei vier fünf sechs sieben acht neun zehn elf zwölf zwanzig dreißig vierzig"
    " fünfzig sechzig siebzig achtzig neunzig hundert tausend million millionen",
    "fr": "deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze seize"
    " vingt trente quarante cinquante soixante cent cents mille million millions",
    "es": "dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince veinte"
    " treinta cuarenta cincuenta sesenta setenta ochenta noventa cien ciento mil millón millones",
}
NEGATIONS = {
    "en": "not no never none nothing nobody nowhere neither nor cannot without hardly",
    "de": "nicht nie niemals nichts niemand kein keine keinen keinem keiner ohne weder",
    "fr": "pas jamais rien personne aucun aucune sans ni",
    "es": "no nunca nada nadie ningún ninguna sin ni jamás",
    "zh": "不 没 沒 无 無 非 未 勿",
}
# Common surnames that are seldom another word.
SURNAMES = frozenset(
    "李王张張刘劉陈陳杨楊赵趙吴吳徐孙孫朱胡郭林罗羅郑鄭梁谢謝宋唐许許韩韓冯馮邓鄧曹彭曾萧蕭"
    "蔡潘袁董余苏蘇叶葉吕呂魏蒋蔣卢盧沈姚崔陆陸汪姜廖贾賈韦韋付邹鄒熊孟秦薛侯雷龙龍"
)

# Changes with these rules: the kept replies are then held against them anew.
BOUNDS_VERSION = 1
_MOST_LENGTH = 0.2
# Words of content that stand nowhere in the passage: misheard words set right, not told facts.
_MOST_NEW = 0.04
_LEAST_NEW = 2
# Words in a row that come or go; a character carries less than a word.
_LONGEST_ADDED = 6
_LONGEST_LEFT_OUT = 15
_NEGATED_AGAIN = 4
_MARKS = frozenset(".,?!'\"“”‘’-")
_CJK_MARKS = frozenset("。，、？！“”‘’「」『』《》…—·")
_LINE_MARKS = re.compile(r"^[ \t]*(?:#{1,6}[ \t]|[-*+•][ \t]|\d{1,2}[.)][ \t]|>|\|)", re.MULTILINE)
_SPAN_MARKS = re.compile(r"\*\*|__|`|~~|\]\(")
_LETTERS = re.compile(r"[^\W\d_]+")
_LATIN = re.compile(r"[A-Za-z]+")
_DIGITS = re.compile(r"\d+(?:[.,:/]\d+)*")
_NUMERALS = re.compile(r"[〇零二三四五六七八九十百千万萬亿億两兩]+")


def change_of(verbatim: str, polished: str) -> float:
    """Return the share of the words that were changed, 0 to 1 and more.

    Words that went, came or were replaced count, over the words of the verbatim text; marks and
    capitals do not. A character of Chinese, Japanese and Korean is a word.
    """
    changed = sum(max(gone, come) for gone, come in _changes(verbatim, polished))
    return changed / max(1, len(words(verbatim)))


def _changes(verbatim: str, polished: str) -> list[tuple[int, int]]:
    """Return, for each place that differs, how many words in a row went and came there."""
    steps = SequenceMatcher(None, words(verbatim), words(polished), autojunk=False).get_opcodes()
    return [(i2 - i1, j2 - j1) for tag, i1, i2, j1, j2 in steps if tag != "equal"]


def tidied(polished: str, verbatim: str) -> str:
    """Return a polished text with the paragraph breaks and the apostrophes of the verbatim one."""
    lines = [" ".join(line.split()) for line in polished.strip().splitlines() if line.strip()]
    text = ("\n\n" if "\n\n" in verbatim else "\n").join(lines)
    return text.replace("'", "’") if "’" in verbatim and "'" not in verbatim else text


def fault_of(verbatim: str, polished: str, most_change: float) -> str | None:
    """Return by what a polished text leaves the bounds, in words for the model, or None."""
    if not polished.strip():
        return "the text is empty"
    if has_control(polished) or neutralise(polished) != polished:
        return "the text holds a control token of a chat format"
    change = change_of(verbatim, polished)
    fault = _language(verbatim, polished) or _length(verbatim, polished)
    if fault is None and change > most_change:
        fault = f"{change:.0%} of the words were changed, more than {most_change:.0%}"
    if fault is not None:
        return fault
    lang = detect_language(verbatim)
    return (
        _runs(verbatim, polished)
        or _form(verbatim, polished)
        or _numbers(verbatim, polished, lang)
        or _names(verbatim, polished, lang)
        or _negations(verbatim, polished, lang)
        or _facts(verbatim, polished, lang)
    )


def _form(verbatim: str, polished: str) -> str | None:
    for marks in (_LINE_MARKS, _SPAN_MARKS):
        if len(marks.findall(polished)) > len(marks.findall(verbatim)):
            return "the text holds Markdown or a list"
    known = _MARKS | _CJK_MARKS if is_cjk(verbatim) else _MARKS
    new = {
        each
        for each in set(polished) - set(verbatim) - known
        if unicodedata.category(each)[0] in "PS"
    }
    if new:
        return f"the text has marks that the passage has not: {' '.join(sorted(new))}"
    if _n_lines(polished) != _n_lines(verbatim):
        return f"the text has {_n_lines(polished)} paragraphs, the passage {_n_lines(verbatim)}"
    if _n_capitals(polished) > _n_capitals(verbatim):
        return "the text has more words in capitals than the passage"
    if ends_sentence(verbatim) and not ends_sentence(polished):
        return "the text breaks off"
    return None


def _n_capitals(text: str) -> int:
    return sum(len(word) > 1 and word.isupper() for word in _LETTERS.findall(text))


def _n_lines(text: str) -> int:
    return sum(bool(line.strip()) for line in text.splitlines())


def _language(verbatim: str, polished: str) -> str | None:
    before, after = detect_language(verbatim), detect_language(polished)
    if after in {before, "und"}:
        return None
    return f"the text reads as {after!r}, the passage as {before!r}"


def _length(verbatim: str, polished: str) -> str | None:
    before, after = len(words(verbatim)), len(words(polished))
    if abs(after - before) <= _MOST_LENGTH * before:
        return None
    return f"the text has {after} words, the passage {before}: more than {_MOST_LENGTH:.0%} apart"


def _runs(verbatim: str, polished: str) -> str | None:
    """Refuse what comes or goes in one piece: a repair touches words, not sentences."""
    scale = 2 if is_cjk(verbatim) else 1
    for gone, come in _changes(verbatim, polished):
        if come - gone > _LONGEST_ADDED * scale:
            return f"{come - gone} words in a row were added, more than {_LONGEST_ADDED * scale}"
        if gone - come > _LONGEST_LEFT_OUT * scale:
            return (
                f"{gone - come} words in a row are missing, more than {_LONGEST_LEFT_OUT * scale}"
            )
    return None


def _numbers(verbatim: str, polished: str, lang: str) -> str | None:
    """Refuse a number that is new, changed, or out of its order; one may go."""
    left = iter(_numbers_in(verbatim, lang))
    for number in _numbers_in(polished, lang):
        if number not in left:
            return f"the number {number!r} is new, or not where the passage has it"
    return None


def _numbers_in(text: str, lang: str) -> list[str]:
    if is_cjk(text):
        found = [*_DIGITS.finditer(text), *_NUMERALS.finditer(text)]
        return [match.group() for match in sorted(found, key=lambda match: match.start())]
    counted = frozenset(COUNTED.get(lang, "").split())
    digits = [(match.start(), match.group()) for match in _DIGITS.finditer(text)]
    told = [
        (start, part)
        for word, start, _ in word_spans(text)
        for part in word.split("-")
        if part in counted
    ]
    return [number for _, number in sorted(digits + told)]


def _names(verbatim: str, polished: str, lang: str) -> str | None:
    """Refuse a capitalised word that the passage does not have, but for function words.

    At the beginning of a sentence, too: there no rule tells a name from another word.
    """
    known = {told.lower() for told in _LETTERS.findall(verbatim)}
    if is_cjk(verbatim):
        new = _new_characters(verbatim, polished)
        named = next((run for run in new if len(run) > 1 or run in SURNAMES), None)
        latin = next((w for w in _LATIN.findall(polished) if w not in verbatim), None)
        found = named or latin
        return f"{found!r} is new, as a name would be" if found else None
    plain = stop_words(lang) | stop_words(f"{lang}.more") | known
    for told in _LETTERS.findall(polished):
        if told[0].isupper() and told.lower() not in plain:
            return f"{told!r} is new, as a name would be"
    return None


def _new_characters(verbatim: str, polished: str) -> list[str]:
    """Return the runs of characters that stand nowhere in the passage and carry content."""
    known = set(verbatim) | stop_words("zh")
    runs: list[str] = [""]
    for each in polished:
        if each.isalpha() and not each.isascii() and each not in known:
            runs[-1] += each
        elif runs[-1]:
            runs.append("")
    return [run for run in runs if run]


def _negations(verbatim: str, polished: str, lang: str) -> str | None:
    """Refuse more or fewer negations; what a false start says again may go."""
    denied = frozenset(NEGATIONS.get("zh" if is_cjk(verbatim) else lang, "").split())
    least = most = 0
    last: dict[tuple[str, str], int] = {}
    before = ""
    for place, word in enumerate(words(verbatim)):
        if word in denied or word.endswith("n't"):
            most += 1
            again = place - last.get((before, word), -_NEGATED_AGAIN - 1) <= _NEGATED_AGAIN
            least += not again and before != word
            last[before, word] = place
        before = word
    n = sum(word in denied or word.endswith("n't") for word in words(polished))
    if least <= n <= most:
        return None
    return f"the text denies {n} times, the passage {most} times"


def _facts(verbatim: str, polished: str, lang: str) -> str | None:
    """Refuse more new words of content than mended ones can be."""
    most = max(_LEAST_NEW, int(_MOST_NEW * len(words(verbatim))))
    if is_cjk(verbatim):
        new = set("".join(_new_characters(verbatim, polished)))
    else:
        new = content_stems(words(polished), lang) - content_stems(words(verbatim), lang)
    if len(new) <= most:
        return None
    told = ", ".join(sorted(new)[:6])
    return f"{len(new)} words are not in the passage, more than {most}: {told}"
