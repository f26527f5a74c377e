"""Merge an adapter into its base in two ways, and keep the better one that answers the same.

Each way is written weight by weight (train/merge/merged_weights.py), loaded as anyone will load it,
and compared with base + adapter (train/merge/parity.py): only what is on the disk is judged.
"""

from __future__ import annotations

import gc
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from memoirist.data.schema.errors import TrainError
from memoirist.train.disk import need_disk, write_json, write_text
from memoirist.train.loop.memory import free_memory, free_model_memory, need_memory
from memoirist.train.loop.run_folder import (
    base_of,
    checkpoint_folder,
    load_checkpoint,
    read_request,
    trained_with,
)
from memoirist.train.merge.merged_model import MANIFEST, MergeResult, merged_before, read_merged
from memoirist.train.merge.merged_weights import (
    Deltas,
    Way,
    deltas_of,
    keys_in_files,
    merge_weight,
    rewrite_weights,
    stored_weights,
)
from memoirist.train.merge.parity import Parity, Reference, compare, merge_rows, observe, report
from memoirist.train.model.model_loader import compute_dtype, load_base, load_tuned, quiet
from memoirist.train.model.prepared_base import PreparedBase
from memoirist.train.settings import MergeSettings, TrainSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


__all__ = ["MergeResult", "merge", "merge_checkpoint"]

# Above this a merge has gone wrong: even into 4-bit weights the KL is 4e-3 to 1e-2.
_BROKEN_KL = 1e-2
# Activations, logits and the libraries themselves.
_OVERHEAD = 2**29


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeJob:
    """One merge: its run, its adapter and base, and the settings of training and merge."""

    run_folder: Path
    adapter: Path
    base: PreparedBase
    trained: TrainSettings
    settings: MergeSettings
    tokenizer: PreTrainedTokenizerBase

    @property
    def ways(self) -> Sequence[Way]:
        """Return the ways to try; a base that was not quantised has only one."""
        if self.trained.quantisation == "none":
            return ["original"]
        method = self.settings.method
        return ["dequantised", "original"] if method == "best" else [method]

    @property
    def dtypes(self) -> Sequence[torch.dtype]:
        """Return the types to try: bfloat16 rounds away part of what an adapter has learnt.

        A small model gains nothing from it; where a large one then answers differently, float32
        follows.
        """
        if self.settings.dtype != "auto":
            return [getattr(torch, self.settings.dtype)]
        if self.base.n_parameters < 1_000_000_000:
            return [torch.float32]
        if torch.cuda.is_available():
            # A GPU compares in half precision, where float32 weights would be rounded as well.
            return [torch.bfloat16]
        return [torch.bfloat16, torch.float32]


def merge(
    run_folder: Path,
    base: PreparedBase,
    settings: MergeSettings,
    step: int | None = None,
    tell: Callable[[str], None] | None = None,
) -> MergeResult:
    """Merge the adapter of a finished run, or of its checkpoint `step`.

    A merge that is there already under the same settings is returned. `tell` gets a line on the
    memory and disk that it takes, beforehand. Raises TrainError when the run is not finished,
    another base is given, memory or disk is too small, or neither way comes near the answers of
    base + adapter.
    """
    adapter = run_folder / "adapter" if step is None else checkpoint_folder(run_folder, step)
    _refuse_mismatch(run_folder, base, adapter)
    folder = run_folder / ("merged" if step is None else f"merged-{step}")
    if (merged := merged_before(folder, settings)) is not None:
        return merged
    quiet()
    from transformers import AutoTokenizer

    job = MergeJob(
        run_folder=run_folder,
        adapter=adapter,
        base=base,
        trained=trained_with(run_folder),
        settings=settings,
        tokenizer=AutoTokenizer.from_pretrained(base.path),
    )
    checked_in = _require_resources(job, tell)
    reference, deltas = _observe(job)
    try:
        manifest, best = _write_best(job, folder, checked_in, reference, deltas)
        write_json(best / MANIFEST, manifest)
        shutil.rmtree(folder, ignore_errors=True)
        best.rename(folder)
    finally:
        for rest in run_folder.glob(f"{folder.name}.making*"):
            shutil.rmtree(rest, ignore_errors=True)
    return read_merged(folder)


def merge_checkpoint(run_folder: Path, step: int, folder: Path) -> None:
    """Write base + adapter of a checkpoint as one model, for servers that take no adapter.

    A quantised base is dequantised, so that the model is the one that was trained; nothing is
    compared.
    """
    model, tokenizer = load_checkpoint(run_folder, step)
    deltas = deltas_of(model)
    del model
    job = MergeJob(
        run_folder=run_folder,
        adapter=checkpoint_folder(run_folder, step),
        base=base_of(run_folder),
        trained=trained_with(run_folder),
        settings=MergeSettings(method="dequantised"),
        tokenizer=tokenizer,
    )
    _write_model(job, folder, job.ways[0], deltas, compute_dtype())


def _refuse_mismatch(run_folder: Path, base: PreparedBase, adapter: Path) -> None:
    if not (run_folder / "result.json").exists():
        raise TrainError(f"the run in {str(run_folder)!r} is not finished", "train it first")
    if not adapter.is_dir():
        raise TrainError(f"the adapter {str(adapter)!r} is missing", "train it again")
    trained_on = read_request(run_folder)["base_hash"]
    if trained_on != base.hash:
        raise TrainError(
            f"the adapter in {str(run_folder)!r} was trained on another base than {base.name!r}"
            f" ({trained_on[:12]}, not {base.hash[:12]})",
            "merge it into the base that it was trained on, or train it again",
        )


def _require_resources(job: MergeJob, tell: Callable[[str], None] | None) -> str:
    """Say what the merge needs, refuse what is not there, and return the type to compare in."""
    weights = stored_weights(job.base.path)
    numbers = sum(stored.numbers for stored in weights)
    largest = max(stored.numbers for stored in weights)
    adapter = sum(path.stat().st_size for path in job.adapter.glob("*.safetensors"))
    # One weight as it is, in float32, dequantised, and with the change added to it.
    writing = 16 * largest + 2 * adapter + _OVERHEAD
    bytes_held = {"none": 4.0, "int8": 1.2}.get(job.trained.quantisation, 0.7)
    observing = round(bytes_held * numbers) + 8 * largest + 2 * adapter + _OVERHEAD
    free, model_free = free_memory(), free_model_memory()
    sizes = {"float32": 4.0, "bfloat16": 2.0, "nf4": 0.7}
    if torch.cuda.is_available():
        del sizes["float32"]
    loads = {name: round(size * numbers) + 4 * largest + _OVERHEAD for name, size in sizes.items()}
    checked_in = next((name for name, size in loads.items() if size <= model_free), "nf4")
    comparing = max(observing, loads[checked_in])
    disk = len(job.ways) * numbers * job.dtypes[-1].itemsize
    if tell is not None:
        tell(
            f"writing takes {writing / 2**20:,.0f} MB of memory, comparing"
            f" {comparing / 2**20:,.0f} MB ({checked_in}; {model_free / 2**20:,.0f} MB are free),"
            f" and {disk / 2**20:,.0f} MB of disk"
        )
    step = "close other programs, or use the adapter as it is"
    need_memory(writing, free, "merging weight by weight", step)
    need_memory(comparing, model_free, "comparing the merged model", step)
    need_disk(job.run_folder, disk)
    return checked_in


def _observe(job: MergeJob) -> tuple[Reference, Deltas]:
    """Load base + adapter once, record its answers, take its changes, and free its memory."""
    rows, prompts = merge_rows(job.run_folder, job.tokenizer, job.trained.max_length, job.settings)
    model = load_tuned(job.base.path, job.adapter, job.trained)
    reference = observe(model, job.tokenizer, rows, prompts, job.settings)
    deltas = deltas_of(model)
    del model
    gc.collect()
    return reference, deltas


def _write_best(
    job: MergeJob, folder: Path, checked_in: str, reference: Reference, deltas: Deltas
) -> tuple[dict[str, Any], Path]:
    """Write each way, in a wider type when the narrow one answers differently; return the best."""
    for dtype in job.dtypes:
        parities: dict[Way, Parity] = {}
        for way in job.ways:
            path = folder.with_name(f"{folder.name}.making-{way}")
            _write_model(job, path, way, deltas, dtype)
            model = _load_merged(path, checked_in)
            parities[way] = compare(model, job.tokenizer, reference, job.settings)
            del model
            gc.collect()
        best = _best(parities, job.settings)
        if parities[best].alike(job.settings.max_kl):
            break
    parity = parities[best]
    if parity.kl > _BROKEN_KL and job.settings.method == "best" and checked_in != "nf4":
        raise TrainError(
            f"no merged model of {str(job.run_folder)!r} matches its adapter (KL {parity.kl:.1e})",
            "use the adapter as it is, or force one with --set merge.method=dequantised",
        )
    name = folder.name.replace("merged", "parity")
    write_text(job.run_folder / f"{name}.md", report(reference, parities, best, job.tokenizer))
    of_ways = {f"{way}_{name}": v for way, p in parities.items() for name, v in p.figures.items()}
    manifest = {
        "way": best,
        "dtype": str(dtype).removeprefix("torch."),
        "alike": parity.alike(job.settings.max_kl),
        "checked_in": checked_in,
        "figures": {**parity.figures, **of_ways, **reference.figures},
        "settings": job.settings.model_dump(),
    }
    return manifest, folder.with_name(f"{folder.name}.making-{best}")


def _best(parities: Mapping[Way, Parity], settings: MergeSettings) -> Way:
    """Return the way with the lower loss among those that answer as base + adapter does.

    Where none does, the one that is nearest to it.
    """
    alike = [way for way in parities if parities[way].alike(settings.max_kl)]
    if alike:
        return min(alike, key=lambda way: parities[way].loss)
    return min(parities, key=lambda way: parities[way].kl)


def _load_merged(folder: Path, checked_in: str) -> PreTrainedModel:
    """Load a merged model for the comparison, in as many bits as memory allows."""
    if checked_in == "nf4":
        return load_base(folder, "nf4")
    dtype = None if torch.cuda.is_available() else getattr(torch, checked_in)
    return load_base(folder, "none", dtype=dtype)


def _write_model(job: MergeJob, folder: Path, way: Way, deltas: Deltas, dtype: torch.dtype) -> None:
    """Write the base with the adapter in it, with its configuration and its tokenizer."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    base, tokenizer = job.base.path, job.tokenizer
    names = {key: name for name, key in keys_in_files(base).items()}
    if deltas.touched <= {names.get(stored.key) for stored in stored_weights(base)}:
        device = "cuda" if torch.cuda.is_available() else "cpu"

        def change(key: str, weight: torch.Tensor) -> torch.Tensor:
            name = names.get(key, "")
            if name not in deltas.touched:
                return weight
            return merge_weight(name, weight.to(device), deltas, way, job.trained)

        rewrite_weights(base, folder, change, dtype)
        for name in ("config.json", "generation_config.json"):
            shutil.copy(base / name, folder / name)
    else:
        _write_by_peft(job, folder, way, dtype)
    for name in ("config.json", "generation_config.json"):
        config = json.loads((folder / name).read_text("utf-8"))
        config["pad_token_id"] = tokenizer.pad_token_id
        if name == "config.json":
            config.pop("quantization_config", None)
            config["eos_token_id"] = job.base.end_id
            config["dtype"] = str(dtype).removeprefix("torch.")
        write_json(folder / name, config)
    tokenizer.save_pretrained(folder)


def _write_by_peft(job: MergeJob, folder: Path, way: Way, dtype: torch.dtype) -> None:
    """Merge by peft, in memory: for layers that the files hold transposed or fused."""
    from peft import PeftModel

    if way == "dequantised":
        trained = job.trained
        model: Any = load_base(
            job.base.path, trained.quantisation, double=trained.double_quantisation
        ).dequantize()
        model = model.to(compute_dtype())
    else:
        model = load_base(job.base.path, "none")
    merged = PeftModel.from_pretrained(model, job.adapter).merge_and_unload()
    merged.to(dtype).save_pretrained(folder)
