"""Find the messages in a text of lines that begin with date, time and sender, in any layout.

The layouts are those of WhatsApp: `17/05/2023, 21:15 - Name: text` (Android),
`[17/05/2023, 21:15:13] Name: text` (iPhone), `5/17/16, 21:15:13: Name: text` (older iPhones), with
dates and half days as each language writes them, and the time before the date in some.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from itertools import pairwise

from memoirist.extractors.chat.base import NO_YEAR, label, without_direction
from memoirist.extractors.word_tables import table, word_set

_NUMBERS = (
    r"\d{1,4}\s?(?P<sep>[-./])\s?\d{1,2}\s?(?P=sep)\s?(?:\d{4}|\d{1,2}|R\d{1,2})\.?"
    r"(?:\s?(?:BE|г\.?))?"
)
_CJK = r"\d{4}\s?[年년]\s?\d{1,2}\s?[月월]\s?\d{1,2}\s?[日일]"
_WORDED = (
    r"(?:[^\W\d_]{2,12}\.?,\s)?(?:\d{1,2}\.?\s(?:de\s)?[^\W\d_]{3,12}\.?|[^\W\d_]{3,12}\.?\s\d{1,2})"
    r"(?:,?\s(?:de\s)?\d{4})?"
)
_CLOCK = (
    r"(?:(?P<before>[^\W\d_][^\d\n\[\]]{0,16}?)\s?)?"
    r"(?P<hour>\d{1,2})(?:[:.]|\s?h\s?)(?P<minute>\d{2})(?:[:.](?P<second>\d{2}))?"
    r"(?:\s?(?P<after>[^\W\d_][^\d\n\[\]:]{0,16}?))?"
)
_BETWEEN = r"\s?[,،、]?\s?"
_DATES = (rf"(?P<date>{_NUMBERS}|{_CJK})", rf"(?P<date>{_WORDED})")
_STAMPS = [s for d in _DATES for s in (rf"{d}{_BETWEEN}{_CLOCK}", rf"{_CLOCK}[,،]\s{d}")]
_FRAMES = (r"\[\s?{}\s?\]:?\s?(?P<rest>.*)", r"{}\s[-–]\s(?P<rest>.*)", r"{}:\s(?P<rest>.*)")
_LAYOUTS = tuple(re.compile(f.replace("{}", s)) for s in _STAMPS for f in _FRAMES)
_MAX_HEADER = 60
# A layout with a smaller share of the lines that any layout fits is a part of somebody's words.
_MIN_SHARE = 0.1
_SAMPLE_LINES = 400
_LOG_LEVELS = frozenset("info debug warn warning error trace critical fatal notice".split())
_HALF_DAYS = {"pm": word_set("whatsapp", "pm"), "am": word_set("whatsapp", "am")}
_ENGLISH_HALF = re.compile(r"[ap]m?")
_PM_PHRASES = ("in the afternoon", "in the evening", "at night")
_MAX_NAME = 80
_QUOTES = (("“", "”"), ("„", "“"), ("«", "»"), ("「", "」"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One message as it stands: its sender, if any, its time, and its text with all lines."""

    sender: str | None
    time: datetime | None
    text: str
    in_brackets: bool


@dataclass(slots=True)
class _Entry:
    """A line that begins a message, and the lines that go on with it."""

    date: str
    clock: tuple[int, int, int] | None
    is_half_day: bool
    capital: bool
    rest: str
    in_brackets: bool
    more: list[str]


def lines_of(text: str) -> tuple[list[Line], int]:
    """Return the messages of a text in its order, and how many lines stand above the first."""
    raw = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    layouts = _layouts_of(raw)
    first = next((n for n, line in enumerate(raw) if _header(line, layouts)), len(raw))
    items = list(_entries(raw[first:], layouts))
    dates = _dates([entry.date for entry in items], us_style=_is_us(items))
    senders = _senders([entry.rest for entry in items])
    lines: list[Line] = []
    for entry, day, name in zip(items, dates, senders, strict=True):
        said = entry.rest[len(name) + 1 :].removeprefix(" ") if name is not None else entry.rest
        time = None
        if day is not None and entry.clock is not None:
            hour, minute, second = entry.clock
            time = day + timedelta(hours=hour, minutes=minute, seconds=second)
        lines.append(
            Line(
                sender=label(without_direction(name).lstrip("~ ")) if name else None,
                time=time,
                text="\n".join([said, *entry.more]),
                in_brackets=entry.in_brackets,
            )
        )
    return lines, sum(bool(without_direction(line).strip()) for line in raw[:first])


def looks_like_messages(head: str) -> bool:
    """Tell whether the beginning of a text has such lines, with senders that recur."""
    raw = [line for line in head.split("\n")[:_SAMPLE_LINES] if line.strip()]
    begun = [match for line in raw if (match := _header(line, _LAYOUTS))]
    if not begun or not any(_header(line, _LAYOUTS) for line in raw[:5]):
        return False
    if not any(_dates([match["date"] for match in begun], us_style=False)):
        return False
    # The notice on top names the messenger in every language.
    if any("WhatsApp" in match["rest"] for match in begun[:3]):
        return True
    names = [name for name in _senders([match["rest"] for match in begun]) if name]
    counts = Counter(without_direction(name).casefold().strip() for name in names)
    if not counts or counts.most_common(1)[0][0] in _LOG_LEVELS:
        return False
    recur = counts.most_common(1)[0][1] >= 2 or len(names) == len(raw)
    return recur and 4 * len(names) >= len(begun) and 20 * len(begun) >= len(raw)


def _header(line: str, layouts: Sequence[re.Pattern[str]]) -> re.Match[str] | None:
    """Return the match of a line that begins a message; its digits and spaces are made plain."""
    if not any(character.isdigit() for character in line[:24]):
        return None
    head = line[:_MAX_HEADER]
    if not head.isascii():
        head = _ascii_digits(without_direction(head)).lstrip()
    for layout in layouts:
        if match := layout.match(head):
            # The text keeps its marks: on iPhones one begins what WhatsApp itself writes.
            return layout.match(_with_plain_start(line, match.start("rest")))
    return None


def _ascii_digits(text: str) -> str:
    return "".join(
        str(int(letter)) if letter.isdecimal() and not letter.isascii() else letter
        for letter in text
    )


def _with_plain_start(line: str, length: int) -> str:
    """Return the line with its first `length` visible characters made plain, the rest as it is."""
    if line[:_MAX_HEADER].isascii():
        return line
    plain: list[str] = []
    at = 0
    while at < len(line) and len(plain) < length:
        letter = _ascii_digits(without_direction(line[at]))
        if letter and (plain or letter != " "):
            plain.append(letter)
        at += 1
    return "".join(plain) + line[at:]


def _entries(raw: Sequence[str], layouts: Sequence[re.Pattern[str]]) -> Iterator[_Entry]:
    entry: _Entry | None = None
    for line in raw:
        match = _header(line, layouts)
        if match is None:
            if entry is not None:
                entry.more.append(line)
            continue
        if entry is not None:
            yield entry
        entry = _Entry(
            date=match["date"],
            clock=_clock(match),
            is_half_day=_half_day(match) is not None,
            capital=bool(re.search(r"[AP]M", match["after"] or "")),
            rest=match["rest"],
            in_brackets=match.re.pattern.startswith(r"\["),
            more=[],
        )
    if entry is not None:
        yield entry


def _layouts_of(raw: Sequence[str]) -> tuple[re.Pattern[str], ...]:
    """Return the layouts in which the messages of a text begin, the most frequent first."""
    step = max(1, len(raw) // (10 * _SAMPLE_LINES))
    matches = (_header(line, _LAYOUTS) for line in raw[::step])
    counts = Counter(match.re for match in matches if match)
    least = _MIN_SHARE * counts.total()
    return tuple(layout for layout, n in counts.most_common() if n >= least)


def _half_day(match: re.Match[str]) -> str | None:
    return _half_of(match["after"], match["before"])


@lru_cache(maxsize=256)
def _half_of(after: str | None, before: str | None) -> str | None:
    """Return am or pm, whichever the words around the time say in any language."""
    for word in (after, before):
        text = re.sub(r"[.\s]", "", (word or "").casefold())
        if not text:
            continue
        if (word or "").casefold().strip() in _PM_PHRASES:
            return "pm"
        if _ENGLISH_HALF.fullmatch(text):
            return "pm" if text.startswith("p") else "am"
        for half, words in _HALF_DAYS.items():
            if text in words:
                return half
    return None


def _clock(match: re.Match[str]) -> tuple[int, int, int] | None:
    hour, minute, second = int(match["hour"]), int(match["minute"]), int(match["second"] or 0)
    half = _half_day(match)
    if half is not None and hour <= 12:
        hour = hour % 12 + (12 if half == "pm" else 0)
    return (hour, minute, second) if hour < 24 and minute < 60 and second < 60 else None


def _is_us(items: Sequence[_Entry]) -> bool:
    """Tell whether the dates are written as in the United States: 5/7/23, 9:12 PM."""
    slashes = [entry for entry in items if "/" in entry.date]
    padded = any(re.match(r"0\d", entry.date) for entry in slashes)
    return bool(slashes) and not padded and all(entry.capital for entry in slashes)


def _dates(texts: Sequence[str], *, us_style: bool) -> list[datetime | None]:
    """Return the days; the order of day, month and year is the one that fits the whole file best.

    It is the order in which most dates exist and the fewest lie before the date above; where two
    are equal, days come first, but with `us_style` months do.
    """
    parts = [_date_parts(text) for text in texts]
    orders = ["mdy", "dmy", "ymd"] if us_style else ["dmy", "mdy", "ymd"]
    distinct = list(dict.fromkeys(part for part in parts if isinstance(part, tuple)))

    def faults(order: str) -> tuple[int, int]:
        days = {part: _day(part, order) for part in distinct}
        run = [day for part in parts if isinstance(part, tuple) and (day := days[part])]
        return (
            sum(day is None for day in days.values()),
            sum(later < earlier for earlier, later in pairwise(run)),
        )

    best = min(orders, key=faults) if distinct else "dmy"
    found = {part: _day(part, best) for part in distinct}
    return [found[part] if isinstance(part, tuple) else part for part in parts]


def _date_parts(text: str) -> tuple[str, str, str] | datetime | None:
    """Return three numbers whose order is open, or the day where it is certain."""
    numbers = re.findall(r"R?\d+", text)
    if not re.search(r"[^\W\d_]{3}", text):
        if len(numbers) != 3:
            return None
        first, second, third = numbers
        if re.search(r"[年년]", text) or len(first) == 4:
            return _checked_day(int(first), int(second), int(third))
        return first, second, third
    words = re.findall(r"[^\W\d_]{3,}", text.casefold())
    month = next((m for word in reversed(words) if (m := _months().get(word[:3]))), None)
    if month is None or len(numbers) not in {1, 2}:
        return None
    year = int(numbers[1]) if len(numbers) == 2 else None
    return _checked_day(year or NO_YEAR, month, int(numbers[0]))


@cache
def _months() -> dict[str, int]:
    rows = table("whatsapp")["months"]
    return {word[:3]: n for n, row in enumerate(rows, start=1) for word in row.split()}


def _day(part: tuple[str, str, str], order: str) -> datetime | None:
    values = dict(zip(order, part, strict=True))
    if any(value.startswith("R") for key, value in values.items() if key != "y"):
        return None
    year = values["y"]
    if len(year) == 3 or (len(year) == 1 and not year.startswith("R")):
        return None
    number = int(year.lstrip("R"))
    # The imperial era Reiwa began in 2019, the Buddhist one 543 years before ours.
    number += 2018 if year.startswith("R") else 2000 if len(year) == 2 else 0
    return _checked_day(number, int(values["m"]), int(values["d"]))


def _checked_day(year: int, month: int, day: int) -> datetime | None:
    if 2500 < year < 2650:
        year -= 543
    try:
        found = datetime(year, month, day, tzinfo=UTC)
    except ValueError:
        return None
    return found if 2000 <= year < 2100 else None


def _senders(rests: Sequence[str]) -> list[str | None]:
    """Return the sender before the colon of each message; None for a notice of the messenger.

    A name may hold a colon itself: where all messages that begin alike up to the first colon do so
    up to the second one, the name reaches to there.
    """
    first = [_name_before_colon(rest, 1) for rest in rests]
    groups: dict[str, list[int]] = defaultdict(list)
    for at, name in enumerate(first):
        if name is not None:
            groups[name].append(at)
    names = list(first)
    for members in groups.values():
        for n_colons in (2, 3):
            longer = {_name_before_colon(rests[at], n_colons) for at in members}
            if len(members) < 3 or len(longer) != 1 or None in longer:
                break
            for at in members:
                names[at] = next(iter(longer))
    return names


def _name_before_colon(rest: str, n_colons: int) -> str | None:
    """Return what stands before the n-th colon that a space or the line's end follows."""
    ends = [m.start() for m in re.finditer(r":(?=\s|$|[\u200e\u200f])", rest[: _MAX_NAME + 2])]
    if len(ends) < n_colons:
        return None
    name = rest[: ends[n_colons - 1]]
    # A quotation that goes on is a group's new name or description in a notice.
    is_open = name.count('"') % 2 == 1 or any(
        name.count(opening) > name.count(closing) for opening, closing in _QUOTES
    )
    return name if name.strip() and not is_open else None
