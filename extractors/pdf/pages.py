"""Read the pages of one PDF in parallel processes that never outlive their parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait

from data.errors import SourceUnreadable
from extractors.pdf.engine import forget_opened, quiet, read_pages
from extractors.pdf.lines import PageLines
from extractors.settings import ExtractSettings

Progress = Callable[[int, int], None]


def read_all_pages(
    path: str, n_pages: int, settings: ExtractSettings, on_progress: Progress | None = None
) -> list[PageLines]:
    """Return all pages in order; `on_progress` gets (pages done, pages in all)."""
    step = settings.pages_per_chunk
    chunks = [(n, min(n + step - 1, n_pages)) for n in range(1, n_pages + 1, step)]
    workers = min(settings.workers, len(chunks))
    # A process that is itself a daemon may not have children.
    if workers == 1 or multiprocessing.current_process().daemon:
        return _in_process(path, chunks, on_progress)
    return _in_pool(path, chunks, workers, on_progress)


def _in_process(
    path: str, chunks: list[tuple[int, int]], on_progress: Progress | None
) -> list[PageLines]:
    pages: list[PageLines] = []
    try:
        for first, last in chunks:
            pages.extend(read_pages(path, first, last))
            if on_progress:
                on_progress(last, chunks[-1][1])
    finally:
        forget_opened()
    return pages


def _in_pool(
    path: str, chunks: list[tuple[int, int]], workers: int, on_progress: Progress | None
) -> list[PageLines]:
    found: dict[int, list[PageLines]] = {}
    done = 0
    # Spawn, because forking a process that runs threads (Prefect's, DuckDB's) may deadlock.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_settle)
    try:
        futures = {pool.submit(read_pages, path, *chunk): chunk for chunk in chunks}
        for future in as_completed(futures):
            first, last = futures[future]
            found[first] = future.result()
            done += last - first + 1
            if on_progress:
                on_progress(done, chunks[-1][1])
    except BrokenProcessPool as fault:
        raise SourceUnreadable(
            f"a process that read pages of {path!r} was killed, perhaps for memory",
            "run again with workers = 1 under [sources.extract] in the recipe",
        ) from fault
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return [page for first, _ in chunks for page in found[first]]


def _settle() -> None:
    """Make a child quiet and mortal: Ctrl-C and its parent's end both end it at once."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    quiet()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
