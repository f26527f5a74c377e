"""One DuckDB instance for the process, that takes a workspace's file in and lets it go again.

Starting an instance takes 15 ms, and to take in a file that one which runs already 3: a build opens
its store some hundred times.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

# What does not fit goes to disk beside the file: a laptop has other things to do as well.
MEMORY_LIMIT = "1500MB"
_guard = threading.RLock()
_instance: duckdb.DuckDBPyConnection | None = None


class Attached:
    """A connection whose file is attached; no other thread attaches one before it is closed."""

    def __init__(self, path: Path, *, read_only: bool) -> None:
        """Wait for other threads and attach; raises what DuckDB raises where it cannot."""
        _guard.acquire()
        try:
            self.connection = _running().cursor()
            # By the name that the file has for whoever opens it with another client.
            self._name = '"' + path.stem.replace('"', '""') + '"'
            quoted = str(path).replace("'", "''")
            mode = "READ_ONLY" if read_only else "READ_WRITE"
            self.connection.execute(f"ATTACH '{quoted}' AS {self._name} ({mode})")
        except BaseException:
            _guard.release()
            raise
        self.connection.execute(f"USE {self._name}")

    def close(self, *, failed: bool = False) -> None:
        """Let the file go; after a failure with the instance, whatever state that is in."""
        global _instance
        try:
            if failed:
                self.connection.close()
                if _instance is not None:
                    _instance.close()
                    _instance = None
                return
            self.connection.execute("USE memory")
            self.connection.execute(f"DETACH {self._name}")
            self.connection.close()
        finally:
            _guard.release()


@contextmanager
def sealed() -> Iterator[None]:
    """Keep other threads from attaching while a file is opened by an instance of its own.

    Two instances of one process would not see each other's locks on a file.
    """
    with _guard:
        yield


def _running() -> duckdb.DuckDBPyConnection:
    global _instance
    if _instance is None:
        _instance = duckdb.connect(":memory:", config={"memory_limit": MEMORY_LIMIT})
    return _instance
