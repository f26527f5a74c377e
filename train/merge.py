"""Merge an adapter into its base, by two ways, and keep the better one that answers alike.

The base is walked weight by weight (train/shards.py, train/deltas.py): what is held is one weight
and the adapter. Each way is written, loaded as anyone will load it, and compared with base +
adapter (train/parity.py); nothing is judged that does not lie on the disk.
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

from data.errors import TrainError
from train.base import PreparedBase
from train.checkpoints import checkpoint_folder
from train.deltas import Deltas, Way, changed, deltas_of, names_in_files
from train.files import write_json, write_text
from train.memory import free_memory, free_model_memory, need_memory
from train.models import compute_dtype, load_base, quiet
from train.parity import Parity, Reference, compare, observe
from train.parity_report import report
from train.questions import merge_rows
from train.settings import MergeSettings, TrainSettings
from train.shards import rewrite, weights_in
from train.tokens import need_disk

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# Above this a merge has gone wrong: even into 4-bit weights the KL is 4e-3 to 1e-2.
_BROKEN = 1e-2
# Activations, logits and the libraries themselves.
_OVERHEAD = 2**29


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeResult:
    """The merged model on disk and what was compared, by name; losses are nats a token.

    `alike` is false where the model that was kept is not the trained model by every measure;
    `checked_in` is the type in which it was loaded for the comparison.
    """

    path: Path
    dtype: str
    way: str
    alike: bool
    checked_in: str
    figures: Mapping[str, float]

    @property
    def summary(self) -> str:
        """Tell the figures that a person asks for first."""
        f = self.figures
        draws = f" and {f['ties']:.0f} part at a draw" if f["ties"] else ""
        return (
            f"{self.way} base, {self.dtype}: {f['equal']:.0f} of {f['prompts']:.0f} greedy answers"
            f" equal those of base + adapter{draws}, KL {f['kl']:.1e}, loss {f['loss']:.3f}"
            f" (adapter {f['adapter_loss']:.3f}, base {f['base_loss']:.3f})"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """One merge: where it happens, with what, and what it is compared with."""

    run_folder: Path
    adapter: Path
    base: PreparedBase
    trained: TrainSettings
    settings: MergeSettings
    tokenizer: PreTrainedTokenizerBase


def merge(
    run_folder: Path,
    base: PreparedBase,
    settings: MergeSettings,
    step: int | None = None,
    tell: Callable[[str], None] | None = None,
) -> MergeResult:
    """Merge the adapter of a finished run, or of its checkpoint `step`; return it if it is there.

    `tell` hears beforehand what memory and disk it takes. Raises TrainError when the run is not
    finished, another base is given, memory or disk is too small, or neither way comes near the
    answers of base + adapter.
    """
    request = _request(run_folder, base)
    folder = run_folder / ("merged" if step is None else f"merged-{step}")
    if (folder / "merge.json").exists():
        return _read(folder)
    quiet()
    from transformers import AutoTokenizer

    work = _Work(
        run_folder=run_folder,
        adapter=run_folder / "adapter" if step is None else checkpoint_folder(run_folder, step),
        base=base,
        trained=TrainSettings.model_validate(request["settings"]).resolved(),
        settings=settings,
        tokenizer=AutoTokenizer.from_pretrained(base.path),
    )
    checked_in = _refuse_too_little(work, tell)
    reference, deltas = _observed(work)
    try:
        told, best = _kept(work, folder, checked_in, reference, deltas)
        write_json(best / "merge.json", told)
        shutil.rmtree(folder, ignore_errors=True)
        best.rename(folder)
    finally:
        for rest in run_folder.glob(f"{folder.name}.making*"):
            shutil.rmtree(rest, ignore_errors=True)
    return _read(folder)


def _kept(
    work: _Work, folder: Path, checked_in: str, reference: Reference, deltas: Deltas
) -> tuple[dict[str, Any], Path]:
    """Write the ways, in a wider type when the narrow one answers otherwise; return the better."""
    for dtype in _dtypes(work):
        made: dict[Way, Path] = {}
        found: dict[Way, Parity] = {}
        for way in _ways(work):
            made[way] = folder.with_name(f"{folder.name}.making-{way}")
            _write(work, made[way], way, deltas, dtype)
            model = _loaded(made[way], checked_in)
            found[way] = compare(model, work.tokenizer, reference, work.settings)
            del model
            gc.collect()
        best = _best(found, work.settings)
        if found[best].alike(work.settings.max_kl):
            break
    if found[best].kl > _BROKEN and work.settings.method == "best" and checked_in != "nf4":
        raise TrainError(
            f"no merge of {str(work.run_folder)!r} answers as its adapter does (KL"
            f" {found[best].kl:.1e})",
            "use the adapter as it is, or force one with --set merge.method=dequantised",
        )
    figures = {
        **found[best].figures,
        **{f"{way}_{name}": value for way in found for name, value in found[way].figures.items()},
        "adapter_loss": reference.loss,
        "base_loss": reference.base_loss,
        "adapter_stopped": float(reference.stopped),
    }
    name = folder.name.replace("merged", "parity")
    write_text(work.run_folder / f"{name}.md", report(reference, found, best, work.tokenizer))
    told = {
        "way": best,
        "dtype": str(dtype).removeprefix("torch."),
        "alike": found[best].alike(work.settings.max_kl),
        "checked_in": checked_in,
        "figures": figures,
    }
    return told, made[best]


def _request(run_folder: Path, base: PreparedBase) -> dict[str, Any]:
    if not (run_folder / "result.json").exists():
        raise TrainError(f"the run in {str(run_folder)!r} is not finished", "train it first")
    request: dict[str, Any] = json.loads((run_folder / "train.json").read_text("utf-8"))
    if request["base_hash"] != base.hash:
        raise TrainError(
            f"the adapter in {str(run_folder)!r} was trained on another base than {base.name!r}"
            f" ({request['base_hash'][:12]}, not {base.hash[:12]})",
            "merge it into the base that it was trained on, or train it again",
        )
    return request


def _read(folder: Path) -> MergeResult:
    told = json.loads((folder / "merge.json").read_text("utf-8"))
    return MergeResult(path=folder, **told)


def _ways(work: _Work) -> Sequence[Way]:
    if work.trained.quantisation == "none":
        return ["original"]
    method = work.settings.method
    return ["dequantised", "original"] if method == "best" else [method]


def _dtypes(work: _Work) -> Sequence[torch.dtype]:
    """Return the types to try: bfloat16 rounds away part of what an adapter has learnt.

    Where the file stays small anyway there is nothing to gain by it, and float32 follows where
    the model answers otherwise for it.
    """
    if work.settings.dtype != "auto":
        return [getattr(torch, work.settings.dtype)]
    if work.base.n_parameters < 1_000_000_000:
        return [torch.float32]
    return [torch.bfloat16, torch.float32]


def _refuse_too_little(work: _Work, tell: Callable[[str], None] | None) -> str:
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
    disk = len(_ways(work)) * numbers * _dtypes(work)[-1].itemsize
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


def _observed(work: _Work) -> tuple[Reference, Deltas]:
    """Load base + adapter once, ask it, take its changes, and let it go."""
    from peft import PeftModel

    trained = work.trained
    rows, prompts = merge_rows(work.run_folder, work.tokenizer, trained, work.settings)
    model = PeftModel.from_pretrained(
        load_base(work.base.path, trained.quantisation, double=trained.double_quantisation),
        work.adapter,
    )
    reference = observe(model, work.tokenizer, rows, prompts, work.settings)
    deltas = deltas_of(model)
    del model
    gc.collect()
    return reference, deltas


def _write(work: _Work, folder: Path, way: Way, deltas: Deltas, dtype: torch.dtype) -> None:
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


def _write_whole(work: _Work, folder: Path, way: Way, dtype: torch.dtype) -> None:
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


def _loaded(folder: Path, checked_in: str) -> PreTrainedModel:
    """Load a merged model for the comparison, in as many bits as memory allows."""
    if checked_in == "nf4":
        return load_base(folder, "nf4")
    from transformers import AutoModelForCausalLM

    options: dict[str, Any] = {"device_map": {"": 0}} if torch.cuda.is_available() else {}
    dtype = compute_dtype() if torch.cuda.is_available() else getattr(torch, checked_in)
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, use_safetensors=True, **options
    )
    return model


def _best(found: Mapping[Way, Parity], settings: MergeSettings) -> Way:
    """Return the way with the lower loss among those that answer as base + adapter does.

    Where none does, the one that is nearest to it.
    """
    alike = [way for way in found if found[way].alike(settings.max_kl)]
    if alike:
        return min(alike, key=lambda way: found[way].loss)
    return min(found, key=lambda way: found[way].kl)
