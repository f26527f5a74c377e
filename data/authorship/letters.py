"""Find letters and comments inside a chapter that another person signed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from memoirist.data.authorship.signatures import (
    RANK,
    Names,
    classify_title,
    count_mentions,
    is_persona,
    looks_like_name,
    signature_at_end,
)
from memoirist.data.schema.records import Block
from memoirist.data.text.language_rules import Language, fold
from memoirist.data.text.words import count_words

# The end of a longer letter has most likely been missed.
MAX_LETTER_WORDS = 3000
# A name without a closing phrase ends a letter or a dispatch of at most so many words.
MAX_DISPATCH_WORDS = 500
# A line of at most so many words may be a letter's date, address or signature.
HEAD_WORDS = 16
# "U. S. GRANT"
CAPITALS = re.compile(r"\b(?:[A-Z]\. ?){1,3}[A-Z][A-Z’'-]{2,}\b")
# In some editions a quotation opens with ”.
QUOTE = ("“", "”", '"', "„", "«", "»", "‘", "「", "『")
OPEN = "“”\"„«»‘'「『[( "
_SIGN = r"(?:(?:[A-Z]\.[ \u00a0]?){1,4}|[^\W\d_][\w. '’]{0,24})"
_COMMENT = re.compile(
    r"[\[(](?:[^\[\]()]|\([^()]*\)|\[[^\[\]]*\]){12,4000}?"
    r"(?:(?:[—–]|--?|―)\s*(?P<dash>" + _SIGN + r")|[.!?”\"]\s*(?P<bare>(?:[A-Z]\.[ ]?){2,4}))"
    r"\s*\.?[\])]"
)
_NOTE_END = re.compile(r"(?:[—–]|--)\s*(" + _SIGN + r")[\])]?\s*$")
_POSTSCRIPT = re.compile(r"P\. ?S\b|N\. ?B\b|PS[:.]")
_NOTE_START = re.compile(r"^(?:\[?\d{1,3}\]?|[*†‡§¹²³⁴⁵⁶⁷⁸⁹⁰]+)\s*\S")


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignSpan:
    """A run of blocks that another person wrote, by their indexes in the section."""

    first: int
    last: int
    confidence: float
    reason: str


def is_foreign_sign(sign: str, names: Names, lang: Language) -> bool:
    """Tell whether a note's sign ("F.D.", "Ed.", "Anm. d. Hrsg.") is not the persona's."""
    if fold(sign.strip(" .")) in lang.note_signs:
        return True
    if re.fullmatch(r"(?:[A-Z]\.\s?){1,4}", sign.strip() + ("" if sign.endswith(".") else ".")):
        return not is_persona(sign, names)
    return looks_like_name(sign) and not is_persona(sign, names)


def cut_comments(text: str, names: Names, lang: Language) -> tuple[str, list[str]]:
    """Return the text without the bracketed comments that another person signed, and the comments.

    "(It was mint imperials. —F.D.)" is cut; a comment without a sign or with the persona's stays.
    """
    comments: list[str] = []

    def cut(match: re.Match[str]) -> str:
        sign = match.group("dash") or match.group("bare")
        if not is_foreign_sign(sign, names, lang):
            return match.group()
        comments.append(match.group())
        return ""

    kept = _COMMENT.sub(cut, text)
    if not comments:
        return text, []
    kept = re.sub(r"[ \u00a0]{2,}", " ", kept)
    return re.sub(r"\s+([.,;:!?])", r"\1", kept).strip(), comments


def find_notes(blocks: Sequence[Block], names: Names, lang: Language) -> Iterator[ForeignSpan]:
    """Yield the comments that fill whole blocks: bracketed and signed, or signed notes."""
    first = 0
    while first < len(blocks):
        last = _bracket_end(blocks, first)
        text = "\n".join(block.text for block in blocks[first : last + 1])
        sign = _NOTE_END.search(text.strip())
        bracketed = text.lstrip().startswith(("[", "(")) and text.rstrip().endswith(("]", ")"))
        note = _NOTE_START.match(text.lstrip()) and count_words(text) < 400
        rest = cut_comments(text, names, lang)[0] if bracketed else text
        signed = sign is not None and is_foreign_sign(sign.group(1), names, lang)
        if (bracketed and not rest.strip()) or ((bracketed or note) and signed):
            by = f"signed {sign.group(1).strip()!r}" if sign is not None else "without a signature"
            yield ForeignSpan(
                first=first,
                last=last,
                confidence=0.95,
                reason=f"a comment {by}, not by {names.surname or 'the author'}",
            )
        first = last + 1


def _bracket_end(blocks: Sequence[Block], place: int) -> int:
    """Return the index of the block that closes the bracket opened in `place`, else `place`."""
    text = blocks[place].text.lstrip()
    if not text.startswith("[") or "]" in text:
        return place
    for later in range(place + 1, min(len(blocks), place + 12)):
        if "]" in blocks[later].text:
            return later if blocks[later].text.rstrip().endswith("]") else place
    return place


def find_letters(
    blocks: Sequence[Block], names: Names, lang: Language, writer: str | None = None
) -> Iterator[ForeignSpan]:
    """Yield the letters of other people, from the salutation to the signature.

    A letter that the persona signed stays, and so does one whose end or writer is unknown. A letter
    that greets the persona by name is foreign even without a signature. `writer` is the person whom
    the section's title names: the section then begins with the letter.
    """
    place = 0
    while place < len(blocks):
        start = writer is not None
        if not start:
            start, writer = _opening(blocks[place], names, lang)
        if not start:
            place += 1
            continue
        first = place + 1 if _is_heading_line(blocks, place, writer) else place
        last, signed = _closing(blocks, first, lang)
        begin = _date_lines(blocks, place, names, lang)
        head = "\n".join(block.text[:80] for block in blocks[begin : first + 1])
        to_persona = count_mentions(head, names, lang) > 0
        by = signed or writer
        foreign = by is not None and not is_persona(by, names) and fold(by) not in lang.own_signs
        if last is not None and (foreign or (by is None and to_persona)):
            reason = f"a letter signed {by!r}" if by else f"a letter to {names.surname}"
            yield ForeignSpan(first=begin, last=last, confidence=0.9, reason=reason)
        if last is not None and (by is not None or to_persona):
            place = max(place, last)  # the persona's own letter is passed over as well
        place += 1
        writer = None


def _is_heading_line(blocks: Sequence[Block], place: int, writer: str | None) -> bool:
    """Tell whether the line that names a letter's writer stands above the letter."""
    return writer is not None and place + 1 < len(blocks) and len(blocks[place].text) < 80


def _opening(block: Block, names: Names, lang: Language) -> tuple[bool, str | None]:
    """Tell whether a block opens a letter, and return the writer where a heading names one."""
    text = block.text.strip().lstrip(OPEN)
    if len(text) < 120:
        title = classify_title(text, lang.code, names)
        if title.kind == "letter":
            return True, title.person
    return lang.salutation.match(text) is not None, None


def _date_lines(blocks: Sequence[Block], place: int, names: Names, lang: Language) -> int:
    """Return the index of the first line of place, date or address above a letter."""
    begin = place
    while begin > 0 and place - begin < 4:
        text = blocks[begin - 1].text.strip()
        dated = re.search(r"\b1\d{3}\b|\b20\d\d\b", text) is not None
        mentioned = count_mentions(text, names, lang) > 0
        signed = looks_like_name(text) or CAPITALS.match(text.strip(OPEN))
        if mentioned and signed and not text.endswith((",", ":")):
            break  # the persona's own signature, below the letter before
        addressed = text.endswith(",") or mentioned
        if len(text.split()) > 12 or not (dated or addressed) or lang.closing.search(text):
            break
        begin -= 1
    return begin


def _closing(blocks: Sequence[Block], first: int, lang: Language) -> tuple[int | None, str | None]:
    """Return the index of a letter's last block, and the name that signs it."""
    words = 0
    quoted_end = _quote_run(blocks, first)
    for place in range(first, len(blocks)):
        text = blocks[place].text.strip()
        words += count_words(text)
        next_letter = lang.salutation.match(text.lstrip(OPEN)) and place > first
        next_heading = blocks[place].kind == "heading" and place > first
        if words > MAX_LETTER_WORDS or next_letter or next_heading:
            break
        signed, name = closing_phrase(blocks, place, lang)
        if signed is not None:
            return signed, name
        name = _name_alone(text, lang) if words <= MAX_DISPATCH_WORDS else None
        if name is not None and place > first:
            return place, name
        if quoted_end is not None and place == quoted_end:
            return place, None
    return (quoted_end, None) if quoted_end is not None and quoted_end > first else (None, None)


def closing_phrase(
    blocks: Sequence[Block], place: int, lang: Language
) -> tuple[int | None, str | None]:
    """Return a letter's last block and its signature where a block holds a closing phrase."""
    text = blocks[place].text.strip()
    closings = list(lang.closing.finditer(text))
    if not closings or len(text) - closings[-1].end() >= 160:
        return None, None
    last, name = _signature(blocks, place, text[closings[-1].end() :], lang)
    return _with_short_lines(blocks, last), name


def _quote_run(blocks: Sequence[Block], first: int) -> int | None:
    """Return the index of the last of the blocks that each open with a quotation mark."""
    if not blocks[first].text.strip().startswith(QUOTE):
        return None
    last = first
    while last + 1 < len(blocks) and blocks[last + 1].text.lstrip("0123456789 ").startswith(QUOTE):
        last += 1
    return last


def signed_line(text: str) -> str | None:
    """Return the name in a line such as "U. S. GRANT, Lieutenant-General.", else None."""
    line = text.strip(OPEN + "’")
    if len(line.split()) > HEAD_WORDS or re.search(r"\d", line):
        return None
    if initials := CAPITALS.match(line):
        return initials.group()
    name = line.split(",")[0].strip(OPEN + "’")
    whole = name == line.strip(".") or re.search(r"[A-Z]\.", name) is not None
    return name if whole and looks_like_name(name) else None


def _name_alone(text: str, lang: Language) -> str | None:
    """Return the name that fills a line, after a phrase such as "signed", else None."""
    alone = text.strip(OPEN + "”’»")
    signed = lang.signed.match(alone)
    name = alone[signed.end() :].strip(" ,:") if signed else alone
    if len(name) < 70 and looks_like_name(name):
        return _bare(name)
    return None


def _with_short_lines(blocks: Sequence[Block], last: int) -> int:
    """Return the index of the last short line of the signature, or of the postscript."""
    while last + 1 < len(blocks):
        text = blocks[last + 1].text
        if len(text.split()) > 4 and not _POSTSCRIPT.match(text.lstrip(OPEN)):
            break
        last += 1
    return last


def _signature(
    blocks: Sequence[Block], place: int, rest: str, lang: Language
) -> tuple[int, str | None]:
    """Return the last block and the name after a closing phrase, in this block or the next two."""
    rest = re.sub(r"^[\s,.;:—–-]*(?:etc|&c)?\.?[\s,.;:—–\-\"”]*", "", rest)
    for size in (len(rest), rest.find("."), rest.find(",")):
        if size > 0 and looks_like_name(rest[:size]):
            return place, _bare(rest[:size])
    for later in range(place + 1, min(len(blocks), place + 3)):
        text = blocks[later].text.strip().strip(OPEN + "”’»")
        if len(text.split()) > 12:
            break
        signed = lang.signed.match(text)
        name = text[signed.end() :].strip(" ,:") if signed else text
        if len(name) < 80 and (looks_like_name(name) or fold(name.strip(".")) in lang.role_signs):
            return later, _bare(name)
    return place, signature_at_end([blocks[place].text], lang)


def _bare(name: str) -> str:
    return RANK.sub("", name.strip(" ,;:()\"“”'‘’—–-")).strip(" .,")
