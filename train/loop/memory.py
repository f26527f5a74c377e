"""Memory: what is free, a refusal before it runs out, and smaller passes when it does."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import torch

from memoirist.data.schema.errors import TrainError
from memoirist.train.disk import read_json, write_json

# Where Linux keeps the limit of a container and what it uses, in bytes.
_CGROUP = Path("/sys/fs/cgroup")


def free_memory() -> int:
    """Return the bytes that this process may still take, by the machine and by its container."""
    free = int(psutil.virtual_memory().available)
    try:
        limit = int((_CGROUP / "memory.max").read_text())
        used = int((_CGROUP / "memory.current").read_text())
        lines = (_CGROUP / "memory.stat").read_text().splitlines()
        # Cached files count as used; the system gives them back on demand.
        cached = int(dict(line.split() for line in lines).get("inactive_file", 0))
    except (OSError, ValueError):
        # No container, or one without a limit ("max").
        return free
    return min(free, limit - used + cached)


def free_model_memory() -> int:
    """Return the bytes free where models are loaded: on the GPU, where there is one."""
    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[0])
    return free_memory()


def need_memory(needed: int, free: int, what: str, next_step: str) -> None:
    """Raise TrainError when `what` needs more bytes than are `free`."""
    if free < needed:
        raise TrainError(
            f"{what} needs {needed / 2**20:,.0f} MB of memory and {free / 2**20:,.0f} MB are free",
            next_step,
        )


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that there was no memory left, of a GPU or of this machine."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    phrases = ("out of memory", "can't allocate memory", "not enough memory")
    message = str(error).lower()
    return isinstance(error, RuntimeError) and any(phrase in message for phrase in phrases)


@dataclass
class MemoryBudget:
    """The tokens of one pass, kept in the run's folder so that a resumed run knows them.

    Of several processes only one `writes` the file. `longest` is the longest row of the run in
    tokens: tokens / longest is the micro-batch in rows of full length.
    """

    folder: Path
    tokens: int
    longest: int
    notes: list[str] = field(default_factory=list)
    writes: bool = True

    @classmethod
    def of_run(cls, folder: Path, micro_batch: int, longest: int) -> MemoryBudget:
        """Return a budget of `micro_batch` longest rows, or the smaller one of an earlier start."""
        tokens = micro_batch * longest
        tokens = min(tokens, int(read_json(folder / "memory.json").get("tokens", tokens)))
        first = os.environ.get("RANK", "0") == "0"
        return cls(folder, max(1, tokens), longest, writes=first)

    @property
    def micro_batch(self) -> int:
        """Return how many rows of full length go through the model at once."""
        return max(1, self.tokens // self.longest)

    def halve(self, rows: int, when: str) -> None:
        """Halve the tokens of a pass because one of `rows` rows found no memory.

        Raises TrainError when that was a single row.
        """
        if rows <= 1 or self.tokens == 1:
            raise TrainError(
                f"a single row of up to {self.longest} tokens does not fit into memory {when}",
                "lower train.max_length, or set train.gradient_checkpointing",
            )
        before, self.tokens = self.tokens, max(1, self.tokens // 2)
        if self.writes:
            write_json(self.folder / "memory.json", {"tokens": self.tokens})
        note = (
            f"out of memory {when}: from here on passes of {self.tokens} tokens instead of"
            f" {before}, and more of them; each step learns from the same rows as before"
        )
        self.notes.append(note)
        sys.stderr.write(f"{note}\n")
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
