"""Find the letters, speeches, reports and lists in a narrative, and whose they are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from memoirist.data.authorship.letters import (
    CAPITALS,
    HEAD_WORDS,
    MAX_LETTER_WORDS,
    OPEN,
    QUOTE,
    ForeignSpan,
    closing_phrase,
    signed_line,
)
from memoirist.data.authorship.signatures import (
    Names,
    count_mentions,
    is_persona,
)
from memoirist.data.schema.records import Block
from memoirist.data.text.language_rules import Language, fold
from memoirist.data.text.words import count_words, sentences

_ANNOUNCES = re.compile(r"[:：]\s*[-–—―]*\s*$")
_CLOSED = re.compile(r"[\"”’»“」』][)\].]*$")
# What closes the quotations of an opening mark; a mark without an entry closes its own.
_CLOSERS = {
    "“": "”",
    "„": "[“”]",
    "«": "»",
    "»": "«",
    "‘": r"[.,;:!?—–-]’(?!\w)",
    "「": "」",
    "『": "』",
}
_NUMBERED = re.compile(r"(?:\d{1,2}|[ivx]{1,5}|[IVX]{1,5})(?:[.)]|(?:st|nd|rd|th)\.)\s|[•*–-]\s")
_CONJUNCTION = re.compile(r"^\s*(?:and|then|und|dann|et|puis|y|e)\b(?: (?:then|dann|puis))?")
_SMALL = frozenset(
    "of the and at near in to for by von der dem den de la le du et del y e &".split()
)
_ADDRESS = re.compile(r"(?:To|An|À|Al?) [^a-z]|[A-ZÄÖÜ.-]{3,} ")
# A shorter insertion of another person leaves a passage the persona's.
_MIN_FOREIGN_WORDS = 40
# A report that does not end with a signature goes on while it names the persona so soon again.
_NEXT_MENTION = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Insertion:
    """A run of blocks that belong together, by their indexes; `sign` is the name that ends them.

    `lead` is the index of the block that announces them ("as follows:"), None where none does.
    """

    first: int
    last: int
    lead: int | None = None
    sign: str | None = None
    kind: str = "letter"


def announces(text: str) -> bool:
    """Tell whether a paragraph ends in a colon, so that what it announces comes next."""
    return _ANNOUNCES.search(text) is not None


def is_head(text: str) -> bool:
    """Tell whether a short line holds a place, a date, an addressee or a signature only."""
    tokens = text.strip(OPEN).split()
    if not 0 < len(tokens) <= HEAD_WORDS:
        return False
    words = [token.strip("\"'“”(),.;:–—-") for token in tokens]
    capital = all(w in _SMALL or not w[:1].islower() for w in words)
    return capital and re.search(r"\d|,|[A-Z]\.", text) is not None


def is_signature(text: str) -> bool:
    """Tell whether a line is only the signature of a letter, or the addressee below it."""
    address = text.startswith("To ") and is_head(text) and not re.search(r"\d", text)
    return address or signed_line(text) is not None


def find_insertions(blocks: Sequence[Block], lang: Language) -> Iterator[Insertion]:
    """Yield the letters, speeches and lists among the blocks of one chapter, in order."""
    place = 0
    while place < len(blocks):
        found = _insertion(blocks, place, lang)
        if found is not None:
            yield found
            place = found.last
        place += 1


def _insertion(blocks: Sequence[Block], place: int, lang: Language) -> Insertion | None:
    """Return the insertion that begins with a block or is announced by it."""
    text = blocks[place].text
    lead = place if announces(text) and not is_head(text) else None
    first = place if lead is None else place + 1
    if first >= len(blocks):
        return None
    shortest = first if lead is not None else first + 1
    for kind, (last, sign) in (
        ("quotation", _quotation_end(blocks, first, lang)),
        ("list", (_list_end(blocks, first, lang), None)),
        ("letter", _letter_end(blocks, first, lang, announced=lead is not None)),
        ("text", (_set_apart_end(blocks, first), None)),
    ):
        plain = kind == "text" and lead is None and not is_head(text)
        if last is not None and last >= shortest and not plain:
            return Insertion(first=first, last=last, lead=lead, sign=sign, kind=kind)
    return None


def _quotation_end(
    blocks: Sequence[Block], first: int, lang: Language
) -> tuple[int | None, str | None]:
    """Return the index of the block that closes the quotation opened in `first`, and its sign."""
    for place in range(first, len(blocks)):
        text = blocks[place].text.strip()
        if not text.startswith(QUOTE):
            return (place - 1 if place > first + 1 else None), None
        if _CLOSED.search(text) or not (_stays_open(text) or is_head(text)):
            return place, signed_line(text) or closing_phrase(blocks, place, lang)[1]
    return None, None


def _stays_open(text: str) -> bool:
    """Tell whether a paragraph that opens with a quotation mark does not close all quotations."""
    mark = text[0]
    if mark not in _CLOSERS:
        return text.count(mark) % 2 == 1
    return text.count(mark) > len(re.findall(_CLOSERS[mark], text))


def _list_end(blocks: Sequence[Block], first: int, lang: Language) -> int | None:
    last = None
    for place in range(first, len(blocks)):
        text = blocks[place].text.lstrip(OPEN)
        if not (_NUMBERED.match(text) or lang.item.match(text)):
            break
        last = place
    return last


def _letter_end(
    blocks: Sequence[Block], first: int, lang: Language, *, announced: bool
) -> tuple[int | None, str | None]:
    """Return the index of a letter's last block, and the name that signs it."""
    body = first
    while body < len(blocks) and is_head(blocks[body].text):
        body += 1
    greeted = blocks[first : body + 1]
    greets = any(lang.salutation.match(block.text.lstrip(OPEN)) for block in greeted)
    if body == len(blocks) or not (greets or (announced and body > first)):
        return None, None
    n_words = 0
    for place in range(body, len(blocks)):
        text = blocks[place].text
        n_words += count_words(text)
        if n_words > MAX_LETTER_WORDS or (place > body and announces(text)):
            break
        last, sign = closing_phrase(blocks, place, lang)
        if last is not None and sign is None:
            sign = next((m.group() for m in CAPITALS.finditer(text)), None)
        elif last is None and place > body and (sign := signed_line(text)):
            last = place
        if last is not None and (sign or place > body):
            return _with_address(blocks, last), sign
    return (_set_apart_end(blocks, body) if announced else None), None


def _with_address(blocks: Sequence[Block], last: int) -> int:
    """Return the index of the addressee below a signature, else the signature's."""
    following = blocks[last + 1].text.strip(OPEN) if last + 1 < len(blocks) else ""
    address = _ADDRESS.match(following) and not re.search(r"\d", following)
    return last + 1 if address and is_head(following) else last


def _set_apart_end(blocks: Sequence[Block], first: int) -> int:
    """Return the index of the last block of a document that is set apart, else `first`."""
    last = first
    while (
        blocks[first].kind == "quote"
        and last + 1 < len(blocks)
        and blocks[last + 1].kind == "quote"
        and (is_head(blocks[last + 1].text) or not announces(blocks[last + 1].text))
    ):
        last += 1
    return last


def find_announced(blocks: Sequence[Block], names: Names, lang: Language) -> Iterator[ForeignSpan]:
    """Yield the letters, speeches and reports that the text announces as another person's.

    The signature tells, or the announcement ("the President said, among other things:--").
    Quotation marks without a signature are left to the rule on quoted passages.
    """
    for found in find_insertions(blocks, lang) if names.full else ():
        foreign, last, reason = False, found.last, f"a letter signed {found.sign!r}"
        if found.sign is not None:
            foreign = not is_persona(found.sign, names) and fold(found.sign) not in lang.own_signs
        elif found.lead is not None and found.kind != "list":
            sentence = sentences(blocks[found.lead].text)[-1]
            quoted = blocks[found.first].text.lstrip().startswith(QUOTE)
            foreign = not quoted and _is_anothers(sentence, lang)
            last = _report_end(blocks, found, names, lang)
            reason = f"announced as another person's words: {sentence!r}"
        n_words = sum(count_words(block.text) for block in blocks[found.first : last + 1])
        if foreign and n_words >= _MIN_FOREIGN_WORDS:
            yield ForeignSpan(first=found.first, last=last, confidence=0.8, reason=reason)


def _is_anothers(sentence: str, lang: Language) -> bool:
    """Tell whether an announcement says that another person writes or speaks."""
    if lang.received.search(sentence):
        return True
    verbs = list(lang.saying.finditer(sentence))
    before = sentence[: verbs[-1].start()] if verbs else ""
    clauses = [_CONJUNCTION.sub("", part).strip() for part in re.split(r"[,;.:—–]", before)]
    subject = next((clause for clause in reversed(clauses) if clause), "")
    impersonal = lang.impersonal.search(before) is not None
    return bool(subject) and not impersonal and lang.own_subject.search(subject) is None


def _report_end(blocks: Sequence[Block], found: Insertion, names: Names, lang: Language) -> int:
    """Return the last block of an unsigned text: it goes on while it soon names the persona."""
    last, own_words, mentions = found.last, 0, 0
    for place in range(last + 1, len(blocks)):
        text = blocks[place].text
        if place > last + _NEXT_MENTION or announces(text):
            break
        own_words += len(lang.first_person.findall(text))
        mentions += (here := count_mentions(text, names, lang))
        if here and mentions >= own_words:
            last = place
    return last
