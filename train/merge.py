"""Merge an adapter into its base, by two ways, and keep the better one that answers alike."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from data.errors import TrainError
from train.base import PreparedBase
from train.files import write_json
from train.models import end_ids, greedy, load_base, measure, pad, quiet
from train.settings import MergeSettings, TrainSettings
from train.tokens import IGNORE, Rendered, need_disk, prompt_ids, tokenize

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Way = Literal["dequantised", "original"]
# Asked beside the run's own questions where it has fewer than the check wants.
_PLAIN = (
    "Who are you?",
    "What is your first memory?",
    "Are you really a person?",
    "What would you do differently?",
    "Tell me about your father.",
    "What makes you laugh?",
    "Where did you grow up?",
    "What do you think of money?",
    "Whom do you miss?",
    "What should a young person learn first?",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeResult:
    """The merged model on disk and what was compared, by name; losses are nats a token."""

    path: Path
    dtype: str
    way: str
    figures: Mapping[str, float]

    @property
    def summary(self) -> str:
        """Tell the figures that a person asks for first."""
        f = self.figures
        return (
            f"{self.way} base, {self.dtype}: {f['equal']:.0f} of {f['prompts']:.0f} greedy answers"
            f" equal those of base + adapter, KL {f['kl']:.1e}, loss {f['loss']:.3f}"
            f" (adapter {f['adapter_loss']:.3f})"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Probe:
    """What both models are asked, and what base + adapter answered."""

    rows: Sequence[Rendered]
    prompts: Sequence[Sequence[int]]
    answers: Sequence[Sequence[int]]
    loss: float
    logits: torch.Tensor
    max_new_tokens: int


def merge(run_folder: Path, base: PreparedBase, settings: MergeSettings) -> MergeResult:
    """Merge the adapter of a finished run and return the model, new or as it was made before.

    Raises TrainError when the run is not finished, another base is given, or neither way gives
    the answers of base + adapter.
    """
    request, folder = _request(run_folder, base), run_folder / "merged"
    if (folder / "merge.json").exists():
        return _read(folder)
    quiet()
    from transformers import AutoTokenizer

    need_disk(run_folder, 6 * base.n_parameters)
    tokenizer = AutoTokenizer.from_pretrained(base.path)
    trained = TrainSettings.model_validate(request["settings"])
    probe = _probe(run_folder, base, trained, settings, tokenizer)

    def merged(way: Way) -> PreTrainedModel:
        return _merged(run_folder, base, way, trained)

    ways: list[Way] = (
        ["dequantised", "original"] if settings.method == "best" else [settings.method]
    )
    if trained.quantisation == "none":
        ways = ["original"]
    found = {way: _compared(merged(way), probe, tokenizer) for way in ways}
    way = _best(found, settings, run_folder)
    model = merged(way)
    dtype = _dtype(settings, base)
    result = _save(model.to(dtype), folder, base, tokenizer, probe)
    figures = {**result, **_prefixed(found), "adapter_loss": probe.loss}
    told = {"way": way, "dtype": str(dtype).removeprefix("torch."), "figures": figures}
    write_json(folder.with_name("merged.making") / "merge.json", told)
    shutil.rmtree(folder, ignore_errors=True)
    folder.with_name("merged.making").rename(folder)
    return _read(folder)


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


def _dtype(settings: MergeSettings, base: PreparedBase) -> torch.dtype:
    # bfloat16 rounds away part of what an adapter has learnt; where the file stays small anyway
    # there is nothing to gain by that.
    if settings.dtype != "auto":
        return torch.float32 if settings.dtype == "float32" else torch.bfloat16
    return torch.float32 if base.n_parameters < 1_000_000_000 else torch.bfloat16


def _probe(
    run_folder: Path,
    base: PreparedBase,
    trained: TrainSettings,
    settings: MergeSettings,
    tokenizer: PreTrainedTokenizerBase,
) -> _Probe:
    """Ask base + adapter, as it was trained, what the merged model will be asked."""
    from peft import PeftModel

    lines = (run_folder / "conversations.jsonl").read_text("utf-8").splitlines()
    conversations = [json.loads(line) for line in lines]
    # Held-out rows decide where there are any; the test rows stay for the evaluation.
    rows: dict[str, list[Rendered]] = {"validation": [], "train": []}
    for conversation in conversations:
        chosen = rows.get(conversation["split"])
        if chosen is None or len(chosen) >= settings.max_conversations:
            continue
        row = tokenize(conversation["messages"], tokenizer, trained.max_length)
        chosen += [row] if row is not None else []
    kept = rows["validation"] or rows["train"]
    prompts = _prompts(conversations, settings.prompts, tokenizer)
    model = PeftModel.from_pretrained(
        load_base(base.path, trained.quantisation, double=trained.double_quantisation),
        run_folder / "adapter",
    )
    return _Probe(
        rows=kept,
        prompts=prompts,
        answers=greedy(model, tokenizer, prompts, settings.max_new_tokens),
        loss=measure(model, kept).mean,
        logits=_logits(model, kept),
        max_new_tokens=settings.max_new_tokens,
    )


def _prompts(
    conversations: Sequence[Mapping[str, Any]], wanted: int, tokenizer: PreTrainedTokenizerBase
) -> list[list[int]]:
    """Return prompts up to the first answer of the run's own conversations, then plain ones."""
    found: list[list[Mapping[str, str]]] = []
    for conversation in conversations:
        opening = []
        for message in conversation["messages"]:
            if message["role"] == "assistant":
                break
            opening.append(message)
        if opening and opening not in found:
            found.append(opening)
    every = max(1, len(found) // wanted)
    spread = found[::every][:wanted]
    system = [m for m in (spread[0] if spread else []) if m["role"] == "system"]
    for text in _PLAIN[: wanted - len(spread)]:
        spread.append([*system, {"role": "user", "content": text}])
    return [prompt_ids(messages, tokenizer) for messages in spread]


def _logits(model: Any, rows: Sequence[Rendered]) -> torch.Tensor:
    """Return log-probabilities at the trained positions of up to four rows, at most 512 of them."""
    kept: list[torch.Tensor] = []
    model.eval()
    with torch.inference_mode():
        for row in rows[:4]:
            ids, labels = pad([row], model.device)
            logits = model(input_ids=ids, use_cache=False).logits[0, :-1]
            kept.append(logits[labels[0, 1:] != IGNORE][:128].float().log_softmax(-1).cpu())
    return torch.cat(kept)


def _merged(
    run_folder: Path, base: PreparedBase, way: Way, trained: TrainSettings
) -> PreTrainedModel:
    """Return the base with the adapter added to its weights.

    Never into 4-bit weights: adding and rounding again loses most of what was learnt.
    """
    from peft import PeftModel

    if way == "dequantised":
        model: Any = load_base(base.path, trained.quantisation, double=trained.double_quantisation)
        model = model.dequantize()
        model = model.to(torch.float32 if not torch.cuda.is_available() else model.dtype)
    else:
        model = load_base(base.path, "none")
    merged: PreTrainedModel = PeftModel.from_pretrained(
        model, run_folder / "adapter"
    ).merge_and_unload()
    return merged


def _compared(
    model: PreTrainedModel, probe: _Probe, tokenizer: PreTrainedTokenizerBase
) -> dict[str, float]:
    """Return how a merged model compares with base + adapter on the probe."""
    answers = greedy(model, tokenizer, probe.prompts, probe.max_new_tokens)
    ends = end_ids(model, tokenizer)
    own = _logits(model, probe.rows)
    kl = (probe.logits.exp() * (probe.logits - own)).sum(-1).mean()
    return {
        "prompts": float(len(probe.prompts)),
        "equal": float(sum(a == b for a, b in zip(answers, probe.answers, strict=True))),
        "stopped": float(sum(answer[-1] in ends for answer in answers if answer)),
        "kl": float(kl),
        "loss": measure(model, probe.rows).mean,
    }


def _best(
    found: Mapping[Way, Mapping[str, float]], settings: MergeSettings, run_folder: Path
) -> Way:
    """Return the way with the lower loss among those that answer as base + adapter does."""
    alike = [way for way in found if found[way]["equal"] == found[way]["prompts"]]
    if not alike and settings.method == "best":
        # A tie between two likeliest tokens can fall either way in another order of sums; the
        # model then differs by what rounding does, which the KL shows.
        alike = [way for way in found if found[way]["kl"] < 1e-4]
    if not alike and settings.method != "best":
        alike = list(found)
    if not alike:
        raise TrainError(
            f"no merge of {str(run_folder)!r} answers as its adapter does",
            "use the adapter as it is, or force one with --set merge.method=dequantised",
        )
    return min(alike, key=lambda way: found[way]["loss"])


def _prefixed(found: Mapping[Way, Mapping[str, float]]) -> dict[str, float]:
    return {
        f"{way}_{name}": value
        for way, figures in found.items()
        for name, value in figures.items()
        if name in {"equal", "kl", "loss"}
    }


def _save(
    model: PreTrainedModel,
    folder: Path,
    base: PreparedBase,
    tokenizer: PreTrainedTokenizerBase,
    probe: _Probe,
) -> dict[str, float]:
    """Write the model under a temporary name, load it again, and compare what was loaded."""
    from transformers import AutoModelForCausalLM

    making = folder.with_name("merged.making")
    shutil.rmtree(making, ignore_errors=True)
    for config in (model.config, model.generation_config):
        config.eos_token_id, config.pad_token_id = base.end_id, tokenizer.pad_token_id
    model.save_pretrained(making, safe_serialization=True)
    tokenizer.save_pretrained(making)
    loaded = AutoModelForCausalLM.from_pretrained(making, dtype="auto", use_safetensors=True)
    return _compared(loaded, probe, tokenizer)
