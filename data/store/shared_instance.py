"""One DuckDB instance for the process, that takes a workspace's file in and lets it go again.

To start an instance takes 15 ms, to take a file into a running one 3: a build opens its store some
hundred times.
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

# A laptop has other things to do as well.
MEMORY_LIMIT = "1500MB"
_guard = threading.RLock()
_instance: duckdb.DuckDBPyConnection | None = None
_beside: Path | None = None  # the file that the instance was started for


class Attached:
    """A connection whose file is attached; no other thread attaches one before it is closed."""

    def __init__(self, path: Path, *, read_only: bool) -> None:
        """Wait for other threads and attach; raises what DuckDB raises where it cannot."""
        _guard.acquire()
        refused = False
        try:
            self.connection = _running(path).cursor()
            # By the name that the file has for whoever opens it with another client.
            self._name = '"' + path.stem.replace('"', '""') + '"'
            mode = "READ_ONLY" if read_only else "READ_WRITE"
            try:
                self.connection.execute(f"ATTACH {_quoted(path)} AS {self._name} ({mode})")
            except duckdb.Error:
                refused = True  # whatever else the instance holds is whole
                raise
            self.connection.execute(f"USE {self._name}")
        except BaseException:
            if not refused:
                _stop()
            _guard.release()
            raise

    def close(self, *, failed: bool = False) -> None:
        """Let the file go; after a failure with the instance, whatever state that is in."""
        whole = False
        try:
            if not failed:
                self.connection.execute("USE memory")
                self.connection.execute(f"DETACH {self._name}")
                whole = True
        except duckdb.Error as error:
            # What was committed stands in the log beside the file; the next one to open it, with
            # room to write, puts it into its place.
            if "CHECKPOINT" not in str(error):
                raise
        finally:
            self.connection.close()
            if not whole:
                _stop()
            _guard.release()


@contextmanager
def sealed() -> Iterator[None]:
    """Keep other threads from attaching while a file is opened by an instance of its own.

    Two instances of one process would not see each other's locks on a file.
    """
    with _guard:
        yield


def _running(path: Path) -> duckdb.DuckDBPyConnection:
    global _instance, _beside
    if _instance is not None and _beside != path:
        _stop()
    if _instance is None:
        # What does not fit goes to disk beside the file, not to where the command was given.
        config = {"memory_limit": MEMORY_LIMIT, "temp_directory": f"{path}.tmp"}
        _instance = duckdb.connect(":memory:", config={**config})
        _beside = path
    return _instance


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


@atexit.register
def _stop() -> None:
    global _instance
    if _instance is not None:
        _instance.close()
        _instance = None
