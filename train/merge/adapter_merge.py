"""Merge an adapter into its base, by two ways, and keep the better one that answers alike.

The base is walked weight by weight (train/shards.py, train/deltas.py): what is held is one weight
and the adapter. Each way is written, loaded as anyone will load it, and compared with base +
adapter (train/parity.py); nothing is judged that does not lie on the disk.
"""

from __future__ import annotations

import gc
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from memoirist.data.schema.errors import TrainError
from memoirist.train.atomic_files import write_json, write_text
from memoirist.train.loop.checkpoints import checkpoint_folder
from memoirist.train.merge.merge_work import (
    Work,
    dtypes_of,
    refuse_too_little,
    ways_of,
    write_merged,
)
from memoirist.train.merge.merged_model import MANIFEST, MergeResult, merged_before, read_merged
from memoirist.train.merge.merged_weights import Deltas, Way, deltas_of
from memoirist.train.merge.parity import Parity, Reference, compare, observe
from memoirist.train.merge.parity_report import report
from memoirist.train.merge.questions import merge_rows
from memoirist.train.model.model_loader import compute_dtype, load_base, quiet
from memoirist.train.model.prepared_base import PreparedBase
from memoirist.train.settings import MergeSettings, TrainSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel


__all__ = ["MergeResult", "merge"]

# Above this a merge has gone wrong: even into 4-bit weights the KL is 4e-3 to 1e-2.
_BROKEN = 1e-2


def merge(
    run_folder: Path,
    base: PreparedBase,
    settings: MergeSettings,
    step: int | None = None,
    tell: Callable[[str], None] | None = None,
) -> MergeResult:
    """Merge the adapter of a finished run, or of its checkpoint `step`.

    What is there already under the same settings is returned.

    `tell` hears beforehand what memory and disk it takes. Raises TrainError when the run is not
    finished, another base is given, memory or disk is too small, or neither way comes near the
    answers of base + adapter.
    """
    adapter = run_folder / "adapter" if step is None else checkpoint_folder(run_folder, step)
    request = _request(run_folder, base, adapter)
    folder = run_folder / ("merged" if step is None else f"merged-{step}")
    if (made := merged_before(folder, settings)) is not None:
        return made
    quiet()
    from transformers import AutoTokenizer

    work = Work(
        run_folder=run_folder,
        adapter=adapter,
        base=base,
        trained=TrainSettings.model_validate(request["settings"]).resolved(),
        settings=settings,
        tokenizer=AutoTokenizer.from_pretrained(base.path),
    )
    checked_in = refuse_too_little(work, tell)
    reference, deltas = _observed(work)
    try:
        told, best = _kept(work, folder, checked_in, reference, deltas)
        write_json(best / MANIFEST, told)
        shutil.rmtree(folder, ignore_errors=True)
        best.rename(folder)
    finally:
        for rest in run_folder.glob(f"{folder.name}.making*"):
            shutil.rmtree(rest, ignore_errors=True)
    return read_merged(folder)


def _kept(
    work: Work, folder: Path, checked_in: str, reference: Reference, deltas: Deltas
) -> tuple[dict[str, Any], Path]:
    """Write the ways, in a wider type when the narrow one answers otherwise; return the better."""
    for dtype in dtypes_of(work):
        made: dict[Way, Path] = {}
        found: dict[Way, Parity] = {}
        for way in ways_of(work):
            made[way] = folder.with_name(f"{folder.name}.making-{way}")
            write_merged(work, made[way], way, deltas, dtype)
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
        "settings": work.settings.model_dump(),
    }
    return told, made[best]


def _request(run_folder: Path, base: PreparedBase, adapter: Path) -> dict[str, Any]:
    if not (run_folder / "result.json").exists():
        raise TrainError(f"the run in {str(run_folder)!r} is not finished", "train it first")
    request: dict[str, Any] = json.loads((run_folder / "train.json").read_text("utf-8"))
    if not adapter.is_dir():
        raise TrainError(f"the adapter {str(adapter)!r} is gone", "train it again")
    if request["base_hash"] != base.hash:
        raise TrainError(
            f"the adapter in {str(run_folder)!r} was trained on another base than {base.name!r}"
            f" ({request['base_hash'][:12]}, not {base.hash[:12]})",
            "merge it into the base that it was trained on, or train it again",
        )
    return request


def _observed(work: Work) -> tuple[Reference, Deltas]:
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
