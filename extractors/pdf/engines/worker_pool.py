"""Read the pages of one PDF in parallel processes; a page that harms its process is given up."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import wait

from memoirist.extractors.pdf.engines.base import PdfFacts, unreadable
from memoirist.extractors.pdf.engines.exchange import Request, unpacked
from memoirist.extractors.pdf.engines.passwords import passwords
from memoirist.extractors.pdf.engines.workers import Worker, WorkerLost, asked, borrowed, hired
from memoirist.extractors.pdf.layout.geometry import PageLines
from memoirist.extractors.settings import ExtractSettings

Progress = Callable[[int, int], None]

# So many pages are given up before the rest of the file is, lest a file take hours.
_MAX_GIVEN_UP = 3
# Fewer pages than this are not worth a process more.
_PAGES_PER_WORKER = 8


def read_facts(path: str, settings: ExtractSettings) -> PdfFacts:
    """Return what the PDF says of itself; raise SourceEncrypted or SourceUnreadable."""
    request = Request(settings.engine, path, passwords())
    try:
        answer = asked(request, settings, settings.opening_seconds)
    except WorkerLost as lost:
        raise unreadable(path, f"opening it was given up: {lost}") from lost
    if answer.fault:
        raise answer.fault
    if answer.facts is None:
        raise unreadable(path, "it says nothing of itself")
    return answer.facts


@dataclass(slots=True)
class _Chunk:
    """Pages `first` to `last`, of which `first` is read next, until `deadline`."""

    first: int
    last: int
    deadline: float = 0.0


@dataclass(slots=True)
class _Reading:
    """The state of one book: what is to be read, by whom, and what has been found."""

    path: str
    n_pages: int
    settings: ExtractSettings
    waiting: deque[_Chunk]
    busy: dict[Worker, _Chunk] = field(default_factory=dict)
    found: dict[int, PageLines] = field(default_factory=dict)
    crashed: set[int] = field(default_factory=set)
    given_up: int = 0


def read_all_pages(
    path: str, n_pages: int, settings: ExtractSettings, on_progress: Progress | None = None
) -> list[PageLines]:
    """Return all pages in order; `on_progress` gets (pages done, pages in all) after each page.

    A page that takes more than `page_seconds` or `page_memory_mb`, or ends its process, comes
    back with its error; raise the SourceError of a file that does not open again.
    """
    step = settings.pages_per_chunk
    starts = range(1, n_pages + 1, step)
    reading = _Reading(
        path, n_pages, settings, deque(_Chunk(n, min(n + step - 1, n_pages)) for n in starts)
    )
    with borrowed(settings) as team:
        while reading.waiting or reading.busy:
            _hire(reading, team)
            for _ in _hear(reading, team):
                if on_progress:
                    on_progress(len(reading.found), n_pages)
    if on_progress:
        on_progress(n_pages, n_pages)
    return [reading.found[number] for number in range(1, n_pages + 1)]


def _hire(reading: _Reading, team: list[Worker]) -> None:
    """Give every waiting chunk to a free worker, and hire workers as long as it is worth it."""
    wanted = min(reading.settings.workers, -(-reading.n_pages // _PAGES_PER_WORKER))
    while reading.waiting and len(reading.busy) < wanted:
        worker = next((each for each in team if each not in reading.busy), None)
        if worker is None:
            worker = hired(reading.settings)
            team.append(worker)
        chunk = reading.waiting.popleft()
        reading.busy[worker] = chunk
        # The first page of a chunk may have to open the file before.
        chunk.deadline = time.monotonic() + max(
            reading.settings.opening_seconds, reading.settings.page_seconds
        )
        try:
            worker.send(
                Request(reading.settings.engine, reading.path, passwords(), chunk.first, chunk.last)
            )
        except WorkerLost as lost:
            _lose(reading, team, worker, str(lost))


def _hear(reading: _Reading, team: list[Worker]) -> Iterator[int]:
    """Take in what has come, page by page, and end the workers whose page takes too long."""
    now = time.monotonic()
    first = min(chunk.deadline for chunk in reading.busy.values()) if reading.busy else now
    by_connection = {worker.connection: worker for worker in reading.busy}
    for connection in wait(list(by_connection), max(first - now, 0.0)):
        worker = by_connection[connection]  # type: ignore[index]
        try:
            yield from _take(reading, worker)
        except WorkerLost as lost:
            _lose(reading, team, worker, str(lost))
    now = time.monotonic()
    for worker, chunk in list(reading.busy.items()):
        if now > chunk.deadline and not worker.connection.poll():
            limit = reading.settings.page_seconds
            reading.crashed.add(chunk.first)  # once is enough: it would hang again
            _lose(reading, team, worker, f"it took more than {limit:g} s")


def _take(reading: _Reading, worker: Worker) -> Iterator[int]:
    chunk = reading.busy[worker]
    answer = worker.receive()
    if answer.fault:
        raise answer.fault
    if answer.page is None:
        del reading.busy[worker]
        return
    page = unpacked(answer.page)
    reading.found[page.page] = page
    yield page.page
    chunk.first = page.page + 1
    chunk.deadline = time.monotonic() + reading.settings.page_seconds


def _lose(reading: _Reading, team: list[Worker], worker: Worker, why: str) -> None:
    """End a worker; its page is tried once more in a fresh process, its other pages go on."""
    chunk = reading.busy.pop(worker)
    team.remove(worker)
    worker.end()
    if chunk.first > chunk.last:
        return
    if chunk.first not in reading.crashed:
        reading.crashed.add(chunk.first)
        reading.waiting.appendleft(chunk)
        return
    _give_up(reading, chunk.first, why)
    if chunk.first < chunk.last:
        reading.waiting.appendleft(_Chunk(chunk.first + 1, chunk.last))
    reading.given_up += 1
    if reading.given_up >= _MAX_GIVEN_UP:
        for rest in reading.waiting:
            for number in range(rest.first, rest.last + 1):
                _give_up(reading, number, f"{_MAX_GIVEN_UP} pages before it were given up")
        reading.waiting.clear()


def _give_up(reading: _Reading, number: int, why: str) -> None:
    reading.found[number] = PageLines(page=number, width=0.0, height=0.0, error=why)
