"""Find out before training how many rows fit through the model at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from memoirist.train.dataset.tokenize import Rendered
from memoirist.train.loop.forward_pass import Passes
from memoirist.train.loop.memory import is_out_of_memory
from memoirist.train.settings import TrainSettings


def largest_micro_batch(passes: Passes, rows: Sequence[Rendered], settings: TrainSettings) -> int:
    """Return how many of the longest rows fit through a forward and a backward pass.

    Probed before training, on a GPU, beside what the optimizer will hold: finding out in the
    middle of a run costs the step that it happens in. On a CPU more rows at once are no faster,
    and 8 rows of 1024 tokens stay within bounds.
    """
    if settings.micro_batch is not None or not torch.cuda.is_available():
        return settings.micro_batch or 8
    longest = sorted(rows, key=lambda row: -len(row.input_ids))
    micro = min(settings.effective_batch, len(longest))
    weights = [weight for weight in passes.tuned.parameters() if weight.requires_grad]
    passes.tuned.train()
    while micro > 1:
        moments: list[torch.Tensor] = []
        try:
            moments = [torch.empty_like(weight) for weight in [*weights, *weights]]
            passes.run(longest[:micro], torch.autograd.backward)
            break
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            micro //= 2
        finally:
            del moments
            passes.tuned.zero_grad(set_to_none=True)
            torch.cuda.empty_cache()
    return micro
