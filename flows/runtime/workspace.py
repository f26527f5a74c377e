"""The workspace: the git-ignored folder of one persona, with its database and its models."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from memoirist.data.schema.errors import DiskFull, StoreError, StoreLocked
from memoirist.data.store.store import FILE, Store


class Workspace:
    """Where everything of one persona lies."""

    # Files and folders that no command writes for its user; `exports` is the user's.
    OWN_NAMES = frozenset(
        {FILE, "recipe.toml", ".lock", "serve.log", "bases", "feeds", "ocr", "reports", "runs"}
    )

    def __init__(self, root: Path, on_wait: Callable[[str], None] | None = None) -> None:
        self.root = root
        self.store = Store(root / FILE)
        self.on_wait = on_wait
        self.recipe = root / "recipe.toml"
        self.bases = root / "bases"
        self.feeds = root / "feeds"
        self.runs = root / "runs"
        self.exports = root / "exports"
        self.reports = root / "reports"

    def run_folder(self, run_id: str) -> Path:
        """Return the folder of one training run."""
        return self.runs / run_id

    def relative(self, path: Path) -> str:
        """Return a path as the tables keep it: relative to the workspace where it lies inside."""
        try:
            return str(path.resolve().relative_to(self.root.resolve()))
        except ValueError:
            return str(path)

    def owns(self, name: str) -> bool:
        """Tell whether a name in the root is the workspace's own, DuckDB's neighbours included."""
        return name in self.OWN_NAMES or name.startswith((f"{FILE}.", "replies-", "recipe.partial"))

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the workspace for one build; a second one is refused with the first one's number.

        The lock is the kernel's: it goes with the process, however that ends.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.root / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
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
            # A build waits for whoever looks at its tables; a command that only reads does not.
            self.store.on_wait = self.on_wait
            if self.store.path.exists():
                # An older version's tables get their new columns before anything reads them.
                with self.store.writing():
                    pass
            yield
        finally:
            self.store.on_wait = None
            os.close(descriptor)

    def _unusable(self, error: OSError) -> StoreError:
        if error.errno == 28:
            return DiskFull(
                f"the disk of {str(self.root)!r} is full",
                "free some space and run the same command again: it goes on where it stopped",
            )
        return StoreError(
            f"the workspace {str(self.root)!r} cannot be written: {error.strerror}",
            "choose another folder with -w",
        )
