"""Rows through one model, forward and backward, in passes that fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from memoirist.train.dataset.packing import (
    Pack,
    best_fit,
    lay,
    pad_right,
    padded_bins,
    trained_count,
)
from memoirist.train.dataset.tokenize import Rendered
from memoirist.train.loop.head import decoder_of, plain_head
from memoirist.train.loop.isolation import attend_by_row, keeps_apart, rows_apart
from memoirist.train.loop.memory import is_out_of_memory
from memoirist.train.model.model_loader import Loss


class Passes:
    """How rows go through a model with its adapter: packed where it keeps them apart."""

    def __init__(self, tuned: Any, packing: bool) -> None:
        """Try out what `tuned`, with a fresh adapter, allows."""
        self.tuned = tuned
        self.model = tuned.get_base_model()
        self.head = plain_head(self.model)
        # Where the arithmetic has a type of its own, the Trainer sets it.
        self.autocast: Callable[[], AbstractContextManager[Any]] = nullcontext
        self.packed = False
        if packing:
            before = self.model.config.get_text_config()._attn_implementation
            by_row = attend_by_row(self.model)
            self.packed = self._apart()
            if not self.packed and by_row:
                # The mask that transformers makes of restarting positions may still do.
                self.model.set_attn_implementation(before)
                self.packed = self._apart()

    def _apart(self) -> bool:
        vocabulary = self.model.get_input_embeddings().weight.shape[0]
        try:
            return keeps_apart(decoder_of(self.model), vocabulary)
        except (TypeError, ValueError, RuntimeError):
            # It takes no positions, or cannot do without a mask.
            return False

    def bins(self, rows: Sequence[Rendered], capacity: int) -> list[list[Rendered]]:
        """Return `rows` by pass, each of at most `capacity` tokens or a single row."""
        lengths = [len(row.input_ids) for row in rows]
        cut = best_fit if self.packed else padded_bins
        return [[rows[at] for at in chosen] for chosen in cut(lengths, capacity)]

    def run(
        self, rows: Sequence[Rendered], then: Callable[[torch.Tensor], None] | None = None
    ) -> torch.Tensor:
        """Return the loss summed over the trained tokens of `rows`; `then` may go backward."""
        device = self.model.device
        pack = lay(rows, device) if self.packed else pad_right(rows, device)
        with rows_apart(pack.lengths):
            with self.autocast():
                loss = self._loss(pack)
            if then is not None:
                then(loss)
        return loss.detach()

    def measure(self, rows: Iterable[Rendered], capacity: int) -> Loss:
        """Return the loss over all trained tokens of `rows`; passes halve when memory ends."""
        was_training = self.tuned.training
        self.tuned.eval()
        total, tokens = 0.0, 0
        left = [list(rows)]
        with torch.inference_mode():
            while left:
                for chosen in self.bins(left.pop(), capacity):
                    try:
                        total += float(self.run(chosen))
                        tokens += trained_count(chosen)
                    except (RuntimeError, MemoryError) as error:
                        if not is_out_of_memory(error) or len(chosen) == 1:
                            raise
                        half = len(chosen) // 2
                        left += [chosen[:half], chosen[half:]]
        self.tuned.train(was_training)
        return Loss(total=total, tokens=tokens)

    def _loss(self, pack: Pack) -> torch.Tensor:
        asked = {"input_ids": pack.input_ids, "position_ids": pack.positions, "use_cache": False}
        if not self.packed:
            # Of ordinary rows every model knows the positions, and not all take them.
            del asked["position_ids"]
        if self.head is not None:
            hidden = decoder_of(self.model)(**asked).last_hidden_state
            return self.head.loss(hidden.flatten(0, 1)[pack.places], pack.targets)
        length = pack.input_ids.shape[1]
        columns = torch.unique(pack.places % length)
        logits = self.tuned(**asked, logits_to_keep=columns).logits
        row, column = pack.places // length, torch.searchsorted(columns, pack.places % length)
        return cross_entropy(logits[row, column].float(), pack.targets, reduction="sum")
