"""One merge at work: what it takes, said before, and the files that it writes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from memoirist.train.atomic_files import write_json
from memoirist.train.dataset.tokenize import need_disk
from memoirist.train.loop.free_memory import free_memory, free_model_memory, need_memory
from memoirist.train.merge.merged_weights import Deltas, Way, changed, names_in_files
from memoirist.train.merge.shards import rewrite, weights_in
from memoirist.train.model.model_loader import compute_dtype, load_base
from memoirist.train.model.prepared_base import PreparedBase
from memoirist.train.settings import MergeSettings, TrainSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


# Activations, logits and the libraries themselves.
_OVERHEAD = 2**29


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One merge: where it happens, with what, and what it is compared with."""

    run_folder: Path
    adapter: Path
    base: PreparedBase
    trained: TrainSettings
    settings: MergeSettings
    tokenizer: PreTrainedTokenizerBase


def ways_of(work: Work) -> Sequence[Way]:
    """Return the ways to try; a base that was trained in full has but one."""
    if work.trained.quantisation == "none":
        return ["original"]
    method = work.settings.method
    return ["dequantised", "original"] if method == "best" else [method]


def dtypes_of(work: Work) -> Sequence[torch.dtype]:
    """Return the types to try: bfloat16 rounds away part of what an adapter has learnt.

    Where the file stays small anyway there is nothing to gain by it, and float32 follows where
    the model answers otherwise for it.
    """
    if work.settings.dtype != "auto":
        return [getattr(torch, work.settings.dtype)]
    if work.base.n_parameters < 1_000_000_000:
        return [torch.float32]
    if torch.cuda.is_available():
        # A GPU compares in half precision, where float32 weights would be rounded alike.
        return [torch.bfloat16]
    return [torch.bfloat16, torch.float32]


def refuse_too_little(work: Work, tell: Callable[[str], None] | None) -> str:
    """Say what the merge needs, refuse what cannot be had, and return the type to compare in."""
    held = weights_in(work.base.path)
    numbers = sum(each.numbers for each in held)
    largest = max(each.numbers for each in held)
    adapter = sum(path.stat().st_size for path in work.adapter.glob("*.safetensors"))
    # One weight as it is, in float32, made full again, and with the change added to it.
    writing = 16 * largest + 2 * adapter + _OVERHEAD
    few_bits = {"none": 4.0, "int8": 1.2}.get(work.trained.quantisation, 0.7)
    asking = round(few_bits * numbers) + 8 * largest + 2 * adapter + _OVERHEAD
    free, room = free_memory(), free_model_memory()
    sizes = {"float32": 4.0, "bfloat16": 2.0, "nf4": 0.7}
    if torch.cuda.is_available():
        del sizes["float32"]
    loads = {name: round(size * numbers) + 4 * largest + _OVERHEAD for name, size in sizes.items()}
    checked_in = next((name for name, size in loads.items() if size <= room), "nf4")
    needed = max(asking, loads[checked_in])
    disk = len(ways_of(work)) * numbers * dtypes_of(work)[-1].itemsize
    if tell is not None:
        tell(
            f"writing takes {writing / 2**20:,.0f} MB of memory, comparing {needed / 2**20:,.0f} MB"
            f" ({checked_in}; {room / 2**20:,.0f} MB are free), and {disk / 2**20:,.0f} MB of disk"
        )
    step = "close other programs, or use the adapter as it is"
    need_memory(writing, free, "merging weight by weight", step)
    need_memory(needed, room, "comparing the merged model", step)
    need_disk(work.run_folder, disk)
    return checked_in


def write_merged(work: Work, folder: Path, way: Way, deltas: Deltas, dtype: torch.dtype) -> None:
    """Write the base with the adapter in it, and what belongs to a model beside its weights."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    base, tokenizer = work.base.path, work.tokenizer
    names = {key: name for name, key in names_in_files(base).items()}
    in_files = {names.get(each.key) for each in weights_in(base)}
    if deltas.touched <= in_files:
        device = "cuda" if torch.cuda.is_available() else "cpu"

        def change(key: str, weight: torch.Tensor) -> torch.Tensor:
            name = names.get(key, "")
            if name not in deltas.touched:
                return weight
            return changed(name, weight.to(device), deltas, way, work.trained)

        rewrite(base, folder, change, dtype)
        for name in ("config.json", "generation_config.json"):
            shutil.copy(base / name, folder / name)
    else:
        _write_whole(work, folder, way, dtype)
    for name in ("config.json", "generation_config.json"):
        told = json.loads((folder / name).read_text("utf-8"))
        told["pad_token_id"] = tokenizer.pad_token_id
        if name == "config.json":
            told.pop("quantization_config", None)
            told["eos_token_id"] = work.base.end_id
            told["dtype"] = str(dtype).removeprefix("torch.")
        write_json(folder / name, told)
    tokenizer.save_pretrained(folder)


def _write_whole(work: Work, folder: Path, way: Way, dtype: torch.dtype) -> None:
    """Merge by peft, in memory: for layers that the files hold turned round or fused."""
    from peft import PeftModel

    if way == "dequantised":
        trained = work.trained
        model: Any = load_base(
            work.base.path, trained.quantisation, double=trained.double_quantisation
        ).dequantize()
        model = model.to(compute_dtype())
    else:
        model = load_base(work.base.path, "none")
    merged = PeftModel.from_pretrained(model, work.adapter).merge_and_unload()
    merged.to(dtype).save_pretrained(folder)
