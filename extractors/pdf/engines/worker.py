"""The process that opens PDFs for its parent, which kills it when it takes too long.

A library written in C may crash or hang on a damaged file; here that costs one process and one
page. The parent runs `main` with the arguments SOCKET_FD MEMORY_MB.
"""

from __future__ import annotations

import os
import queue
import resource
import signal
import sys
import threading
from dataclasses import fields
from multiprocessing.connection import Connection
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

from memoirist.data.schema.errors import SourceError
from memoirist.extractors.pdf.engines.base import engine_of
from memoirist.extractors.pdf.layout.geometry import Line, PageLines

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
