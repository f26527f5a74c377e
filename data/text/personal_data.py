"""Mask mail addresses, phone, card and account numbers, which a trained model might recite."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from memoirist.data.schema.records import Fault, Passage, Question, Rows, Verdict
from memoirist.data.text.language_rules import phone_rules

# What a text must hold before the slower look is worth it; DuckDB's regular expressions know
# all of it, so that a million rows can be asked at once.
CANDIDATE = r"@|\d[\s().\-/]*\d[\s().\-/]*\d[\s().\-/]*\d[\s().\-/]*\d[\s().\-/]*\d"
_MAYBE = re.compile(CANDIDATE)
# A run of digits as numbers are written; one of years alone, or of few digits, is nobody's number.
_DIGITS = re.compile(r"[+(]{0,2}\d[\d\s().\-/]*\d")
_ONLY_YEARS = re.compile(r"\(?(?:(?:1\d|20)\d\d[\s().\-/]*)+")
_LEAST_DIGITS = 6
_CARD_DIGITS = 13
# Of no known country, a number is told by its country's prefix alone.
_NOWHERE = "und"
_WORD_REACH = 40
_MAIL = re.compile(r"[\w.+\-]{1,64}@(?:[\w\-]{1,63}\.)+[^\W\d_]{2,24}\b")
_CARD = re.compile(r"(?<![\w.])\d(?:[ -]?\d){12,18}(?![\w.]*\d)")
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
_ACCOUNT = re.compile(
    r"(?:\b(?:account|acct|a/c|konto|kontonummer|compte|cuenta|routing|sort code)\b"
    r"(?:\s*(?:no|nr|number|n°|nº|num[eé]ro|n[uú]mero))?\.?|(?:银行)?[账帳][号號户戶]|卡[号號])"
    r"\s*(?:is|lautet|est|es|[:：#为為是])?\s*(\d(?:[ -]?\d){5,19})(?!\d)",
    re.IGNORECASE,
)
# A number as people write one of a phone: with a prefix or in groups, never a bare count.
_PHONE_SHAPE = re.compile(r"^(?:\+|\(|0)|\d[)\s.\-/]+\d|^1[3-9]\d{9}$")
_YEARS = re.compile(r"^\(?(?:1\d|20)\d\d\s*[-–/. ]\s*(?:1\d|20)\d\d\)?$")
Mask = Callable[[str, str], tuple[str, Counter[str]]]
_Span = tuple[int, int, str]
_Run = tuple[int, int, int]


def candidate(lang: str) -> str:
    """Return a closer CANDIDATE for one language, in RE2's syntax: what `mask` could find at all.

    A mail address, a number as long as a telephone's, or the word for an account and digits after.
    """
    least = phone_rules(lang).get("min_digits", _LEAST_DIGITS)
    number = rf"(?:\d[\s().\-/]*){{{least}}}"
    if lang == _NOWHERE:
        number = rf"\+[\s().\-/]*{number}|(?:\d[\s().\-/]*){{{_CARD_DIGITS}}}"
    account = (
        r"(?i:account|acct|a/c|konto|compte|cuenta|routing|sort code|[账帳][号號户戶]|卡[号號])"
        r"[^\d]{0,40}\d"
    )
    return rf"[^\s]@[^\s]|{number}|[A-Z]{{2}}\d\d ?[A-Z0-9]{{4}}|{account}"


def mask(text: str, lang: str) -> tuple[str, Counter[str]]:
    """Return the text with personal data replaced by "[e-mail]" and the like, and their counts.

    Cards count by Luhn's check digit, account numbers by IBAN's (ISO 13616, modulo 97) or by the
    word before them, phone numbers by the numbering plans of the language's countries; so dates,
    ranges of years and quantities stay.
    """
    runs = _runs(text) if _MAYBE.search(text) else []
    if not runs and "@" not in text:
        return text, Counter()
    taken: list[_Span] = []
    for spans in (
        _mails(text) if "@" in text else (),
        _accounts(text, runs),
        _cards(text) if any(n >= _CARD_DIGITS for _, _, n in runs) else (),
        _phones(text, runs, lang),
    ):
        for start, end, kind in spans:
            if all(end <= s or start >= e for s, e, _ in taken):
                taken.append((start, end, kind))
    masked = text
    for start, end, kind in sorted(taken, reverse=True):
        masked = f"{masked[:start]}[{kind}]{masked[end:]}"
    return masked, Counter(kind for _, _, kind in taken)


def _mails(text: str) -> Iterator[_Span]:
    for match in _MAIL.finditer(text):
        yield *match.span(), "e-mail"


def _accounts(text: str, runs: Sequence[_Run]) -> Iterator[_Span]:
    for match in _IBAN.finditer(text):
        if _is_iban(match.group().replace(" ", "")):
            yield *match.span(), "account"
    for first, last, _ in runs:
        # The word that names an account stands before its number.
        start = max(0, first - _WORD_REACH)
        for match in _ACCOUNT.finditer(text[start:last]):
            yield start + match.start(1), start + match.end(1), "account"


def _is_iban(code: str) -> bool:
    if not 15 <= len(code) <= 34:
        return False
    rotated = code[4:] + code[:4]
    return int("".join(str(int(character, 36)) for character in rotated)) % 97 == 1


def _cards(text: str) -> Iterator[_Span]:
    for match in _CARD.finditer(text):
        digits = re.sub(r"\D", "", match.group())
        if digits[0] in "23456" and _luhn(digits):
            yield *match.span(), "card"


def _luhn(digits: str) -> bool:
    doubled = [int(d) * (1 + place % 2) for place, d in enumerate(reversed(digits))]
    return sum(d - 9 if d > 9 else d for d in doubled) % 10 == 0


def _phones(text: str, runs: Sequence[_Run], lang: str) -> Iterator[_Span]:
    least = phone_rules(lang).get("min_digits", _LEAST_DIGITS)
    runs = [run for run in runs if run[2] >= least]
    if not runs:
        return
    # Numbering plans take a moment to load, and few texts need them.
    from phonenumbers import Leniency, PhoneNumberMatcher

    for first, last, _ in runs:
        # An extension may follow; looking through the whole text takes ten times as long.
        start = max(0, first - 6)
        window = text[start : last + 16]
        if lang == _NOWHERE and "+" not in window:
            continue
        for region in phone_rules(lang).get("regions", [lang.upper()]):
            for match in PhoneNumberMatcher(window, region, leniency=Leniency.VALID):
                if _PHONE_SHAPE.search(match.raw_string) and not _YEARS.match(match.raw_string):
                    yield start + match.start, start + match.end, "phone"


def _runs(text: str) -> list[_Run]:
    """Return the runs of digits that may be somebody's number: start, end, digits."""
    runs: list[_Run] = []
    for match in _DIGITS.finditer(text):
        run = match.group()
        digits = sum(map(str.isdigit, run))
        if digits >= _LEAST_DIGITS and not _ONLY_YEARS.fullmatch(run):
            runs.append((*match.span(), digits))
    return runs


def mask_rows(rows: Rows, lang: str, now: datetime, mask: Mask = mask) -> Rows:
    """Return the rows with every passage and question masked, and a flag for each kind found."""
    passages: list[Passage] = []
    flags: list[Verdict] = []
    for passage in rows.passages:
        text, counts = mask(passage.text, lang)
        context, system = (t and mask(t, lang)[0] for t in (passage.context, passage.system))
        passages.append(replace(passage, text=text, context=context, system=system))
        flags += [_flag(passage.id, "passages", kind, n, now) for kind, n in counts.items()]
    questions: list[Question] = []
    for question in rows.questions:
        text, counts = mask(question.text, lang)
        questions.append(replace(question, text=text))
        flags += [_flag(question.id, "questions", kind, n, now) for kind, n in counts.items()]
    return replace(rows, passages=passages, questions=questions, verdicts=[*rows.verdicts, *flags])


def _flag(subject_id: str, subject: str, kind: str, n: int, now: datetime) -> Verdict:
    if kind == "secret":
        reason = f"keys or passwords replaced by [{kind}]: {n}"
        step = "remove them from the source, and revoke those that are still valid"
    else:
        reason = f"personal data replaced by [{kind}]: {n}"
        step = "passages.mask_personal = false in the recipe keeps the original words"
    flag = Fault(f"masked_{kind.replace('-', '')}", reason, step, float(n))
    return flag.verdict(subject, subject_id, now, keep=True)
