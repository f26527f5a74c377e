"""The process that opens PDFs: its parent sends requests and kills it when it takes too long.

Run as `python -m memoirist.extractors.pdf.engines.worker SOCKET_FD MEMORY_MB`. A C library may
crash or hang on a damaged file; here that costs one process and one page.
"""

from __future__ import annotations

import os
import queue
import resource
import signal
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path

from memoirist.data.schema.errors import SourceError
from memoirist.extractors.pdf.engines.choice import engine_of
from memoirist.extractors.pdf.engines.exchange import Answer, Request, packed

_IDLE_SECONDS = 30.0


def main() -> None:
    """Answer requests until the parent closes its end or asks nothing for a while."""
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
        _answer(connection, request)


def _listen(connection: Connection, requests: queue.SimpleQueue[Request]) -> None:
    """Take requests in; the parent's end closes with the parent, and ends this process at once."""
    while True:
        try:
            requests.put(connection.recv())
        except (EOFError, OSError):
            os._exit(0)


def _limit_memory(megabytes: int) -> None:
    """Let this process grow by so much and no more; what it has mapped so far is its libraries."""
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = mapped + megabytes * 1024 * 1024
    if hard == resource.RLIM_INFINITY or limit < hard:
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _answer(connection: Connection, request: Request) -> None:
    engine = engine_of(request.engine)
    engine.quiet()
    try:
        if request.last:
            pages = engine.read_pages(request.path, request.first, request.last, request.passwords)
            for page in pages:
                connection.send(Answer(page=packed(page)))
            connection.send(Answer())
        else:
            connection.send(Answer(facts=engine.open_facts(request.path, request.passwords)))
            engine.forget_opened()
    except (SourceError, OSError) as fault:
        engine.forget_opened()
        connection.send(Answer(fault=fault))
    except MemoryError:
        # What is left of this process cannot be relied on.
        os._exit(1)


if __name__ == "__main__":
    main()
