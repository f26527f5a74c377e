"""Put the messages of a chat in order of time, and cut them into conversations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from memoirist.extractors.chat.base import Message

# So many messages in a row that lie far before the ones above are another export in the same file;
# a single one was only delivered late.
_RUN = 4
_FAR = timedelta(hours=12)
_HOUR = timedelta(hours=1)
_SUNDAY, _NIGHT_ENDS = 6, 4


def conversations(messages: Sequence[Message], gap: timedelta | None) -> Iterator[list[Message]]:
    """Yield the conversations of a chat in order of time; each ends before a silence of `gap`.

    Messages without a time stay behind the one before them. Where several exports stand one after
    the other in a file, each is ordered by itself.
    """
    for run in _runs(messages):
        ordered = _by_time(run)
        if gap is None:
            yield [message for _, message in ordered]
            continue
        current: list[Message] = []
        last: datetime | None = None
        for time, message in ordered:
            if current and time and last and time - last > gap:
                yield current
                current = []
            current.append(message)
            last = time or last
        if current:
            yield current


def _runs(messages: Sequence[Message]) -> Iterator[list[Message]]:
    """Yield the exports that stand one after the other, which as a rule is one."""
    run: list[Message] = []
    latest: datetime | None = None
    for at, message in enumerate(messages):
        if latest and message.time and message.time < latest - _FAR:
            times = [m.time for m in messages[at : at + _RUN] if m.time]
            if len(times) == _RUN and all(time < latest - _FAR for time in times):
                yield run
                run, latest = [], None
        run.append(message)
        if message.time and (latest is None or message.time > latest):
            latest = message.time
    if run:
        yield run


def _by_time(messages: Sequence[Message]) -> list[tuple[datetime | None, Message]]:
    """Return the messages with their times, sorted; equal times keep the order of the export.

    In the night in which daylight saving time ends the clock goes through one hour twice. So a step
    back within a Sunday night, when clocks are changed nearly everywhere, is not sorted: what
    follows is an hour later than it says.
    """
    shift = timedelta()
    last: datetime | None = None
    keyed: list[tuple[datetime | None, Message]] = []
    for message in messages:
        time = message.time
        if time is not None:
            if last and time < last and last - time <= _HOUR and _is_change(time):
                shift += _HOUR
            last = time
            keyed.append((time + shift, message))
        else:
            keyed.append((keyed[-1][0] if keyed else None, message))
    first = next((time for time, _ in keyed if time), None)
    if first is None:
        return keyed
    return sorted(keyed, key=lambda pair: pair[0] or first)


def _is_change(time: datetime) -> bool:
    return time.weekday() == _SUNDAY and time.hour < _NIGHT_ENDS
