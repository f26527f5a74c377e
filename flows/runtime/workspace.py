"""Name and lock the files of a workspace: the folder of one persona, its database and models."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from memoirist.data.schema.errors import DiskFull, StoreError, StoreLocked
from memoirist.data.schema.records import Model, Source
from memoirist.data.store.store import FILE, Store

T = TypeVar("T")


class Workspace:
    """The folder of one persona."""

    # Files and folders that no command may overwrite for its user; `exports` belongs to the user.
    OWN_NAMES = frozenset(
        {
            FILE,
            "recipe.toml",
            ".lock",
            "serve.log",
            "bases",
            "feeds",
            "ocr",
            "reports",
            "runs",
            "unpacked",
        }
    )

    def __init__(self, root: Path, on_wait: Callable[[str], None] | None = None) -> None:
        self.root = root
        self.store = Store(root / FILE)
        self.on_wait = on_wait
        self.recipe = root / "recipe.toml"
        self.bases = root / "bases"
        self.feeds = root / "feeds"
        self.runs = root / "runs"
        self.unpacked = root / "unpacked"
        self.exports = root / "exports"
        self.reports = root / "reports"

    def sources(self, where: str = "true", *parameters: object) -> list[Source]:
        """Return the sources under a condition, oldest first; none without a database."""
        if not self.store.path.exists():
            return []
        return self.store.nouns(Source, f"({where}) ORDER BY added_at, id", *parameters)

    @property
    def saved_recipe(self) -> Path | None:
        """Return the path of the workspace's own recipe, if it has one."""
        return self.recipe if self.recipe.exists() else None

    def first(self, noun: type[T], where: str, *parameters: object) -> T | None:
        """Return the first row of a noun's table under a condition, or None."""
        return next(iter(self.store.nouns(noun, where, *parameters)), None)

    def model_of(self, run_id: str) -> Model | None:
        """Return the model of a run, if it has one."""
        return self.first(Model, "run_id = ?", run_id)

    def run_folder(self, run_id: str) -> Path:
        """Return the folder of one training run."""
        return self.runs / run_id

    def relative(self, path: Path) -> str:
        """Return a path as the tables store it: relative if it is inside the workspace."""
        try:
            return str(path.resolve().relative_to(self.root.resolve()))
        except ValueError:
            return str(path)

    def owns(self, name: str) -> bool:
        """Tell whether a name in the root belongs to the workspace or to DuckDB.

        Capitals do not count: on some disks they make no other file.
        """
        name = name.casefold()
        own = (f"{FILE}.", "replies-", ".recipe.toml.", "recipe.toml.")
        return name in self.OWN_NAMES or name.startswith(own)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the workspace for one build; a second build gets the process id of the first.

        The kernel releases the lock when the process ends, whatever ends it. A folder that was made
        for the lock and stays empty, as a mistyped one does, is removed again.
        """
        lock, is_new = self.root / ".lock", not self.root.exists()
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise self._unusable(error) from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
                raise StoreLocked(
                    f"the workspace {str(self.root)!r} is in use by process {holder}",
                    "wait until it ends, or choose another with -w",
                ) from error
            try:
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, str(os.getpid()).encode(), 0)
            except OSError as error:
                raise self._unusable(error) from error
            # A build waits for readers of its tables; a command that only reads does not wait.
            self.store.on_wait = self.on_wait
            try:
                yield
            finally:
                if is_new and list(self.root.glob("*")) == [lock]:
                    lock.unlink()
                    self.root.rmdir()
        finally:
            self.store.on_wait = None
            os.close(descriptor)

    def lock_holder(self) -> str | None:
        """Return the id of the process that has locked the workspace, None where none has."""
        try:
            descriptor = os.open(self.root / ".lock", os.O_RDONLY)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
        finally:
            os.close(descriptor)
        return None

    def _unusable(self, error: OSError) -> StoreError:
        if error.errno == 28:
            return DiskFull(
                f"the disk of {str(self.root)!r} is full",
                "free some space and run the same command again: it continues where it stopped",
            )
        return StoreError(
            f"the workspace {str(self.root)!r} cannot be written: {error.strerror}",
            "choose another folder with -w",
        )
