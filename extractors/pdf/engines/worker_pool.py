"""Read PDFs in parallel worker processes; a page that harms its process is given up.

A library written in C may crash or hang on a damaged file; here that costs one process and one
page. A worker is started with the arguments SOCKET_FD MEMORY_MB, answers the requests of its
parent, and is killed by it when it takes too long. Without pydantic, which the settings need, it
starts in half the time.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import queue
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from memoirist.data.schema.errors import SourceError
from memoirist.extractors.pdf.engines.base import PdfInfo, engine_of, known_passwords, unreadable
from memoirist.extractors.pdf.layout.geometry import Line, PageLines

if TYPE_CHECKING:
    from memoirist.extractors.detection.format_registry import Progress
    from memoirist.extractors.settings import ExtractSettings

# So many pages are given up before the rest of the file is, lest a file take hours.
_MAX_GIVEN_UP = 3
# Fewer pages than this are not worth another process.
_PAGES_PER_WORKER = 8
_IDLE_SECONDS = 30.0

_LINE_FIELDS = [field.name for field in fields(Line)]
_PAGE_FIELDS = [field.name for field in fields(PageLines) if field.name != "lines"]
_line_values = attrgetter(*_LINE_FIELDS)
_page_values = attrgetter(*_PAGE_FIELDS)


class Request(NamedTuple):
    """A request for the pages `first` to `last`, or for the file's info where `last` is 0."""

    engine: str
    path: str
    passwords: tuple[str, ...]
    first: int = 0
    last: int = 0


def pack(page: PageLines) -> tuple[Any, ...]:
    """Return a page as plain tuples, which travel several times faster than dataclasses."""
    return (_page_values(page), [_line_values(line) for line in page.lines])


def unpack(values: tuple[Any, ...]) -> PageLines:
    """Return the page that `pack` made plain."""
    page, lines = values
    whole = tuple(Line(**dict(zip(_LINE_FIELDS, line, strict=True))) for line in lines)
    return PageLines(**dict(zip(_PAGE_FIELDS, page, strict=True)), lines=whole)


def main() -> None:
    """Respond to requests until the parent closes its end or requests nothing for a while."""
    connection = Connection(int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _limit_memory(int(sys.argv[2]))
    requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(connection, requests), daemon=True).start()
    while True:
        try:
            request = requests.get(timeout=_IDLE_SECONDS)
        except queue.Empty:
            return
        _respond(connection, request)


def _listen(connection: Connection, requests: queue.SimpleQueue[Request]) -> None:
    """Receive requests; the parent's end closes with the parent, and ends this process at once."""
    while True:
        try:
            requests.put(connection.recv())
        except (EOFError, OSError):
            os._exit(0)


def _limit_memory(megabytes: int) -> None:
    """Let this process grow by so much and no more; what is mapped so far is its libraries."""
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = mapped + megabytes * 1024 * 1024
    if hard == resource.RLIM_INFINITY or limit < hard:
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _respond(connection: Connection, request: Request) -> None:
    """Send each page, or the info of the file, or the fault that ends the request."""
    engine = engine_of(request.engine)
    try:
        if request.last:
            pages = engine.read_pages(request.path, request.first, request.last, request.passwords)
            for page in pages:
                connection.send(pack(page))
        else:
            # The file may have changed since its pages were read.
            engine.close_file()
            connection.send(engine.read_info(request.path, request.passwords))
    except (SourceError, OSError) as fault:
        connection.send(fault)
    except MemoryError:
        # What is left of this process cannot be relied on.
        os._exit(1)


class WorkerLost(Exception):
    """The process ended or was ended; the reason is shown to the user."""


class Worker:
    """One process and the connection to it."""

    def __init__(self, memory_mb: int) -> None:
        """Start the process; it responds as soon as Python has loaded.

        `pages` are those that it reads, and the first of them is late after `deadline`.
        """
        self.memory_mb = memory_mb
        self.pages = range(0)
        self.deadline = 0.0
        self.connection, theirs = Pipe()
        code = f"from {__name__} import main; main()"
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", code, str(theirs.fileno()), str(memory_mb)],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        theirs.close()

    @property
    def is_alive(self) -> bool:
        """Tell whether the process still runs."""
        return self._process.poll() is None

    def send(self, request: Request) -> None:
        """Send a request; raise WorkerLost when the process has ended."""
        try:
            self.connection.send(request)
        except OSError as fault:
            raise WorkerLost(self._why()) from fault

    def receive(self, seconds: float) -> Any:  # noqa: ANN401 - the request says what it is
        """Return the next response, or raise the fault that it is.

        Raise WorkerLost when it is late or the process has ended.
        """
        try:
            if not self.connection.poll(seconds):
                raise WorkerLost(f"it took more than {seconds:g} s")
            response = self.connection.recv()
        except (EOFError, OSError) as fault:
            raise WorkerLost(self._why()) from fault
        if isinstance(response, Exception):
            raise response
        return response

    def _why(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        code = self._process.returncode
        if code == 1:
            return f"it needs more than {self.memory_mb} MB"
        return f"the process that read it ended with code {code}"

    def end(self) -> None:
        """Kill the process and wait for it."""
        self._process.kill()
        self._process.wait()
        self.connection.close()


_IDLE: list[Worker] = []
_LOCK = threading.Lock()


@contextlib.contextmanager
def _borrowed(settings: ExtractSettings) -> Iterator[list[Worker]]:
    """Yield a list for hired workers; those in it at the end are kept for the next file.

    When the block fails, its workers are ended: they may be in the middle of a response.
    """
    team: list[Worker] = []
    try:
        yield team
    except BaseException:
        for worker in team:
            worker.end()
        raise
    with _LOCK:
        n_kept = max(settings.workers - len(_IDLE), 0)
        _IDLE.extend(team[:n_kept])
    for worker in team[n_kept:]:
        worker.end()


def _hire(team: list[Worker], settings: ExtractSettings) -> Worker:
    """Add an idle worker with the wanted memory limit, or a new one, to the team."""
    with _LOCK:
        while _IDLE:
            worker = _IDLE.pop()
            if worker.is_alive and worker.memory_mb == settings.page_memory_mb:
                team.append(worker)
                return worker
            worker.end()
    team.append(Worker(settings.page_memory_mb))
    return team[-1]


@atexit.register
def end_idle_workers() -> None:
    """End the workers that wait for the next file."""
    with _LOCK:
        while _IDLE:
            _IDLE.pop().end()


def read_info(path: str, settings: ExtractSettings) -> PdfInfo:
    """Return what the PDF says about itself; raise SourceEncrypted or SourceUnreadable."""
    try:
        with _borrowed(settings) as team:
            worker = _hire(team, settings)
            worker.send(Request(settings.engine, path, known_passwords()))
            info: PdfInfo = worker.receive(settings.opening_seconds)
    except WorkerLost as lost:
        raise unreadable(path, f"opening it failed: {lost}") from lost
    return info


@dataclass(slots=True)
class _Reading:
    """The state of one book: the workers, the chunks that wait, and the pages that are read."""

    path: str
    settings: ExtractSettings
    team: list[Worker]
    waiting: deque[range]
    pages: dict[int, PageLines] = field(default_factory=dict)
    crashed: set[int] = field(default_factory=set)
    n_given_up: int = 0

    @property
    def busy(self) -> list[Worker]:
        """Return the workers that read pages just now."""
        return [worker for worker in self.team if worker.pages]


def read_all_pages(
    path: str, n_pages: int, settings: ExtractSettings, on_progress: Progress | None = None
) -> list[PageLines]:
    """Return all pages in order; `on_progress` gets (pages done, pages in all) after each page.

    A page that takes more than `page_seconds` or `page_memory_mb`, or ends its process, has its
    error and no lines; raise the SourceError of a file that does not open again.
    """
    step = settings.pages_per_chunk
    chunks = deque(range(n, min(n + step, n_pages + 1)) for n in range(1, n_pages + 1, step))
    n_workers = min(settings.workers, -(-n_pages // _PAGES_PER_WORKER))
    on_progress = on_progress or (lambda *_: None)
    with _borrowed(settings) as team:
        reading = _Reading(path, settings, team, chunks)
        while len(reading.pages) < n_pages:
            while reading.waiting and len(reading.busy) < n_workers:
                _start(reading)
            for n_read in _receive(reading):
                on_progress(n_read, n_pages)
    on_progress(n_pages, n_pages)
    return [reading.pages[number] for number in range(1, n_pages + 1)]


def _start(reading: _Reading) -> None:
    """Give the next waiting chunk to a free worker, or to a new one."""
    settings = reading.settings
    free = (worker for worker in reading.team if not worker.pages)
    worker = next(free, None) or _hire(reading.team, settings)
    pages = worker.pages = reading.waiting.popleft()
    # Before the first page of a chunk the file may have to be opened.
    worker.deadline = time.monotonic() + max(settings.opening_seconds, settings.page_seconds)
    try:
        worker.send(Request(settings.engine, reading.path, known_passwords(), pages[0], pages[-1]))
    except WorkerLost as lost:
        _lose(reading, worker, str(lost))


def _receive(reading: _Reading) -> Iterator[int]:
    """Receive what has come, and end the workers whose page takes too long.

    Give the number of pages that are read after each page.
    """
    workers = {worker.connection: worker for worker in reading.busy}
    deadline = min((worker.deadline for worker in workers.values()), default=0.0)
    for connection in wait(list(workers), max(deadline - time.monotonic(), 0.0)):
        worker = workers[connection]  # type: ignore[index]
        try:
            page = unpack(worker.receive(0))
        except WorkerLost as lost:
            _lose(reading, worker, str(lost))
            continue
        reading.pages[page.page] = page
        worker.pages = worker.pages[1:]
        worker.deadline = time.monotonic() + reading.settings.page_seconds
        yield len(reading.pages)
    for worker in reading.busy:
        if time.monotonic() > worker.deadline and not worker.connection.poll():
            reading.crashed.add(worker.pages[0])  # once is enough: it would hang again
            _lose(reading, worker, f"it took more than {reading.settings.page_seconds:g} s")


def _lose(reading: _Reading, worker: Worker, why: str) -> None:
    """End a worker; its page is tried once more in a new process, its other pages go on."""
    reading.team.remove(worker)
    worker.end()
    page, rest = worker.pages[0], worker.pages
    if page in reading.crashed:
        reading.pages[page] = PageLines(page=page, error=why)
        reading.n_given_up += 1
        rest = rest[1:]
    reading.crashed.add(page)
    if rest:
        reading.waiting.appendleft(rest)
    if reading.n_given_up >= _MAX_GIVEN_UP:
        why = f"reading stopped after {_MAX_GIVEN_UP} pages that could not be read"
        for number in (number for pages in reading.waiting for number in pages):
            reading.pages[number] = PageLines(page=number, error=why)
        reading.waiting.clear()
