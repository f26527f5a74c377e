"""Memory of a run: how many tokens go through the model at once, and less when it runs out."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

import torch

from memoirist.data.schema.errors import TrainError
from memoirist.train.atomic_files import write_json


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that there was no memory left, of a GPU or of this machine."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    told = str(error).lower()
    return isinstance(error, RuntimeError) and (
        "out of memory" in told or "can't allocate memory" in told or "not enough memory" in told
    )


@dataclass
class Budget:
    """The tokens of one pass, kept in the run's folder so that a resumed run knows them.

    Of several processes only one `keeps` it. `longest` is the longest row of the run in tokens:
    tokens / longest is the micro-batch in rows of full length.
    """

    folder: Path
    tokens: int
    longest: int
    notes: list[str] = field(default_factory=list)
    keeps: bool = True

    @classmethod
    def of_run(cls, folder: Path, micro_batch: int, longest: int) -> Budget:
        """Return the budget of `micro_batch` longest rows, or what an earlier start came to."""
        tokens = micro_batch * longest
        known = folder / "memory.json"
        if known.exists():
            tokens = min(tokens, int(json.loads(known.read_text(encoding="utf-8"))["tokens"]))
        first = os.environ.get("RANK", "0") == "0"
        return cls(folder, max(1, tokens), longest, keeps=first)

    @property
    def micro_batch(self) -> int:
        """Return how many rows of full length go through the model at once."""
        return max(1, self.tokens // self.longest)

    def halve(self, rows: int, when: str) -> None:
        """Halve the tokens of a pass after one of `rows` rows found no memory.

        Raises TrainError when that was a single row.
        """
        if rows <= 1 or self.tokens == 1:
            raise TrainError(
                f"a single row of up to {self.longest} tokens finds no memory {when}",
                "lower train.max_length, or set train.gradient_checkpointing",
            )
        before, self.tokens = self.tokens, max(1, self.tokens // 2)
        if self.keeps:
            write_json(self.folder / "memory.json", {"tokens": self.tokens})
        note = (
            f"out of memory {when}: passes of {self.tokens} tokens instead of {before} from here"
            " on, with as many more of them; what a step learns from stays the same"
        )
        self.notes.append(note)
        sys.stderr.write(f"{note}\n")
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
