"""Find out before training how many rows fit through the model at once."""

from __future__ import annotations

import torch
from peft import PeftModel

from train.models import batch_loss, compute_dtype, pad
from train.rows import Corpus
from train.settings import TrainSettings


def largest_micro_batch(model: PeftModel, corpus: Corpus, settings: TrainSettings) -> int:
    """Return how many of the longest rows fit through a forward and a backward pass.

    Probed before training, on a GPU: finding out in the middle of a run changes its batches.
    On a CPU more rows at once are no faster, and 8 rows of 1024 tokens stay within bounds.
    """
    if settings.micro_batch is not None or not torch.cuda.is_available():
        return settings.micro_batch or 8
    longest = sorted(corpus.train.values(), key=lambda row: -len(row.input_ids))
    micro = min(settings.effective_batch, len(longest))
    model.train()
    while micro > 1:
        try:
            ids, labels = pad(longest[:micro], model.device)
            with torch.autocast("cuda", dtype=compute_dtype()):
                torch.autograd.backward(batch_loss(model, ids, labels))
            break
        except torch.cuda.OutOfMemoryError:
            micro //= 2
        finally:
            model.zero_grad(set_to_none=True)
            torch.cuda.empty_cache()
    return micro
