"""The parity report: what a merge has kept of the trained model, for a person to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from memoirist.data.templates import render
from memoirist.train.merge.merged_weights import Way
from memoirist.train.merge.parity import Parity, Reference

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def report(
    reference: Reference,
    parities: Mapping[Way, Parity],
    best: Way,
    tokenizer: PreTrainedTokenizerBase,
) -> str:
    """Return the report as Markdown: a table, then every prompt that is answered otherwise."""

    def decode(ids: Sequence[int]) -> str:
        return " ".join(str(tokenizer.decode(ids, skip_special_tokens=True)).split())

    values = {"reference": reference, "parities": parities, "best": best, "decode": decode}
    return render(Path(__file__).with_suffix(".md.j2"), values)
