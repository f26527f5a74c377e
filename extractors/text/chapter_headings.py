"""Recognise headings by their words in several languages, and name the chapters they open."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from statistics import median

from memoirist.data.schema.records import BlockKind
from memoirist.extractors.text.text_unit import Unit, letters_of, word_count
from memoirist.extractors.word_tables import any_of, word_set

_NUMBER_WORD = any_of("chapter_headings", "number_word")
_COUNT = rf"(?:[ivxlcdm]+|\d+|{_NUMBER_WORD})"
_PART = any_of("chapter_headings", "part")
_CHAPTER = any_of("chapter_headings", "chapter")
_TITLE_REST = r"(?:[\s.:,;—–-].{0,90})?"
_PART_TITLE = re.compile(
    rf"^(?:{_PART}\s+{_COUNT}\b|{_NUMBER_WORD}\s+{_PART}\b){_TITLE_REST}$", re.I
)
_CHAPTER_TITLE = re.compile(
    rf"^(?:{_CHAPTER}\s+{_COUNT}\b|{_NUMBER_WORD}\s+{_CHAPTER}\b|{_COUNT}\.\s+(?:kapitel|teil)\b)"
    r"(?:[\s.:,;—–-].{0,400})?$",
    re.IGNORECASE | re.DOTALL,
)
_HAN_COUNT = r"[一二三四五六七八九十百千零〇○\d０-９]+"
_HAN_PART = re.compile(rf"^第{_HAN_COUNT}[部卷編编篇冊册](?:[\s　:：、.].{{0,40}})?$")
_HAN_CHAPTER = re.compile(rf"^第{_HAN_COUNT}[回章節节折齣出講讲話话](?:\s?.{{0,40}})?$")
_NUMBER = re.compile(r"^(?:[IVXLC]{1,7}|\d{1,3}|[一二三四五六七八九十]{1,3})\s*[.:、]?$")
_NUMBERED = re.compile(
    rf"(?:\w+\.?)\s+{_COUNT}|{_NUMBER_WORD}\s+\w+|第{_HAN_COUNT}\w", re.IGNORECASE
)
_ROMAN_TITLE = re.compile(r"^[IVXLC]{1,7}\.\s+\S.{0,80}$")
_NAMED = re.compile(
    r"^(?:(?:the )?(?:author|editor|publisher|translator|printer).?s? )?(?:to the )?(?:general )?"
    rf"{any_of('chapter_headings', 'named')}\b[^.!?]{{0,50}}[.:]?$",
    re.IGNORECASE,
)
_HAN_NAMED = re.compile(
    r"^(?:《[^》]{1,20}》)?(?:自序|代序|序言|序|前言|引言|楔子|後記|后记|附錄|附录|跋|尾聲|尾声)$"
)

_CONTENTS, _BACK, _BOILERPLATE, _NOTES = (
    re.compile(rf"^{any_of('chapter_headings', kind)}\W*$", re.IGNORECASE)
    for kind in ("contents", "back", "boilerplate", "notes")
)
_MAX_CHARS = 160
# Where the median section of a level is shorter, its headings divide chapters.
_CHAPTER_WORDS = 300
_SMALL = word_set("chapter_headings", "small")
_ROMAN = re.compile(
    r"^(?=[IVXLCDM])M{0,3}(?:CM|CD|D?C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})\W*$"
)


def level_by_words(text: str) -> int:
    """Return 1 for a part's heading, 2 for a chapter's, 3 for a bare number, 0 for other words."""
    line = " ".join(text.split())
    if len(line) > _MAX_CHARS * 3 or line.endswith((",", ";")):
        return 0
    if _CHAPTER_TITLE.match(line) or _HAN_CHAPTER.match(line):
        return 2
    if len(line) > _MAX_CHARS:
        return 0
    if _PART_TITLE.match(line) or _HAN_PART.match(line):
        return 1
    if _NAMED.match(line) or _HAN_NAMED.match(line) or kind_of_section(line):
        return 2
    return 3 if _NUMBER.match(line) or _ROMAN_TITLE.match(line) else 0


def _is_named(text: str) -> bool:
    """Tell whether the heading is a section's by name: a preface, an introduction, an appendix."""
    line = " ".join(text.split())
    return len(line) < _MAX_CHARS and bool(_NAMED.match(line) or _HAN_NAMED.match(line))


def is_bare_number(text: str) -> bool:
    """Tell whether the heading is a number alone ("IV.", "Chapter 4"): a title may follow."""
    line = " ".join(text.split()).rstrip(" .:—–-")
    return bool(_NUMBER.match(line)) or (
        level_by_words(line) in {1, 2} and _NUMBERED.fullmatch(line) is not None
    )


def kind_of_section(title: str) -> BlockKind | None:
    """Return what the section below a heading is where it is not prose, else None."""
    line = " ".join(title.split()).strip(" .:□■◆●◎○*＊[]【】〔〕_-")
    if _CONTENTS.match(line):
        return "contents"
    if _NOTES.match(line):
        return "footnote"
    return "boilerplate" if _BACK.match(line) or _BOILERPLATE.match(line) else None


def is_back_matter(title: str) -> bool:
    """Tell whether the heading opens an index, a bibliography or the like."""
    return bool(_BACK.match(" ".join(title.split()).strip(" .:")))


def same_title(title: str, other: str) -> bool:
    """Tell whether two titles are the same except for numbers, case and punctuation."""
    a, b = letters_of(title), letters_of(other)
    return bool(a) and bool(b) and (a == b or (min(len(a), len(b)) > 5 and (a in b or b in a)))


def join_headings(units: Sequence[Unit]) -> list[Unit]:
    """Return the units with "CHAPTER I" and the title below it as one heading."""
    result: list[Unit] = []
    for unit in units:
        before = result[-1] if result else None
        if (
            unit.kind == "heading"
            and before is not None
            and before.kind == "heading"
            and is_bare_number(before.text)
            and level_by_words(unit.text) not in {1, 2}
            and (unit.level >= before.level or not is_bare_number(unit.text))
        ):
            before.text = f"{before.text.rstrip(' .:')}. {unit.text}"
            before.anchors += unit.anchors
        else:
            result.append(unit)
    return result


def name_chapters(units: Sequence[Unit]) -> None:
    """Set each unit's chapter: the last heading of the chapters' level or above."""
    limit = _chapter_level(units)
    # A preface opens a chapter, however deep it stands.
    headings = [
        unit
        for unit in units
        if unit.kind == "heading" and (unit.level <= limit or _is_named(unit.text))
    ]
    names = _chapter_names(headings)
    chapter: str | None = None
    for unit in units:
        chapter = names.get(id(unit), chapter)
        unit.chapter = chapter


def _chapter_level(units: Sequence[Unit]) -> int:
    levels = sorted({unit.level for unit in units if unit.kind == "heading"})
    sections = {level: _section_words(units, level) for level in levels}
    best, count = 0, 0
    for level, words in sections.items():
        # A few headings below chapters, such as a letter's, make no chapters of their own.
        more = len(words) >= max(2, 1.5 * count) or (count < 4 and len(words) > count)
        if more and median(words) >= _CHAPTER_WORDS:
            best, count = level, len(words)
    if count > 1:
        return best
    # A book of poems or of short notes: its first level that divides it at all.
    several = (level for level, words in sections.items() if len(words) > 1)
    return next(several, levels[0] if levels else 0)


def _section_words(units: Sequence[Unit], level: int) -> list[int]:
    """Return the words of each section that headings up to `level` open, empty ones left out."""
    sections = [0]
    for unit in units:
        if unit.kind == "heading" and unit.level <= level:
            sections.append(0)
        elif unit.kind in {"paragraph", "quote"}:
            sections[-1] += word_count(unit.text)
    return [n_words for n_words in sections[1:] if n_words]


def _chapter_names(headings: Sequence[Unit]) -> dict[int, str]:
    """Return a name for each heading by its identity, made different where two would be one."""
    titles = [_title_case(" ".join(unit.text.split()).strip(" .:—–-")) for unit in headings]
    counts = Counter(titles)
    parents: list[tuple[int, str]] = []
    uses: Counter[str] = Counter()
    names: dict[int, str] = {}
    for unit, title in zip(headings, titles, strict=True):
        while parents and parents[-1][0] >= unit.level:
            parents.pop()
        name = title
        if parents and (counts[title] > 1 or is_bare_number(title)):
            name = f"{parents[-1][1]} - {title}"
        uses[name] += 1
        names[id(unit)] = name if uses[name] == 1 else f"{name} ({uses[name]})"
        parents.append((unit.level, title))
    return names


def _title_case(title: str) -> str:
    """Return a title that is all in capitals in title case, another one as it is."""
    letters = [letter for letter in title if letter.isalpha()]
    if not letters or sum(letter.isupper() for letter in letters) < 0.9 * len(letters):
        return title
    words = title.split(" ")
    return " ".join(
        _capitalize(word, opens=n == 0 or words[n - 1].endswith((".", ":", "—", "--")))
        for n, word in enumerate(words)
    )


def _capitalize(word: str, *, opens: bool) -> str:
    if _ROMAN.match(word) and word != "I":
        return word
    if (word.lower() in _SMALL and not opens) or word[:1].isdigit():
        return word.lower()
    return re.sub(r"[^\W\d_]+(?:['’][^\W\d_]+)?", lambda match: match[0].capitalize(), word)
