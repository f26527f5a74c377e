"""What a training needs, from the base's configuration alone: checks, memory, and time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from memoirist.data.schema.errors import TrainError
from memoirist.train.model.prepared_base import TINY, first_line, readable, unreachable
from memoirist.train.settings import OPTIMIZERS, TrainSettings

# What Python, torch, transformers and peft take by themselves: measured on training processes in
# fp32 on a CPU (python -m tests.benchmarks.estimates).
RUNTIME_BYTES = 575e6
# Numbers that a layer keeps of a token for the backward pass, by input and output of its linears.
KEPT_SHARE = {"cpu": 1.1, "cuda": 1.4}
# Bytes of such a number: float32 on a CPU; on a GPU 16 bits, and 32 where an adapter reads it.
KEPT_BYTES = {"cpu": 4.0, "cuda": 3.0}
# Logits are made in chunks (train/loop/forward_pass.py), with two numbers of 4 bytes for each.
LOGITS = {"cpu": 2**23 * 8.0, "cuda": 2**27 * 8.0}
# What a CPU's allocator does not return, for each place that has a label and each token of the
# vocabulary: fitted to measurements, not derived.
LEFT_BYTES = {"cpu": 6.0, "cuda": 0.0}
# Share of a plain matrix product's speed that a training step reaches.
EFFICIENCY = {"cpu": 0.6, "cuda": 0.4}
# The range of a run's time as shares of the estimate, which knows nothing of other work on the
# machine, short rows and slow disks.
TIME_RANGE = (0.7, 2.0)
STARTING_SECONDS = 12.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseShape:
    """Sizes of a base; `linears` lists (name, inputs, outputs) of every layer that LoRA can take.

    `n_parameters` counts tied weights once, `n_linear` those of `linears`, which are quantised.
    `context` is how many tokens a row may have, None where the base names no limit.
    """

    n_parameters: int
    n_linear: int
    layers: int
    width: int
    vocabulary: int
    linears: tuple[tuple[str, int, int], ...]
    context: int | None = None

    def adapted(self, target_modules: str | Iterable[str]) -> list[tuple[str, int, int]]:
        """Return the linear layers that get an adapter."""
        if target_modules == "all-linear":
            return list(self.linears)
        names = [target_modules] if isinstance(target_modules, str) else target_modules
        # As peft finds them: by the end of their path, whole words.
        ends = tuple(f".{name}" for name in names)
        return [linear for linear in self.linears if f".{linear[0]}".endswith(ends)]


def shape_of(base_model: str) -> BaseShape:
    """Return the shape of `tiny`, a folder or a hub id, without loading or fetching a weight.

    Raises TrainError when there is no such configuration, or no network to fetch config.json.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.pytorch_utils import Conv1D

    from memoirist.train.model.model_loader import quiet

    quiet()
    folder = TINY if base_model == "tiny" else Path(base_model).expanduser()
    with readable(base_model):
        # Asked once whether the hub answers: its own way to find out takes a minute.
        config = AutoConfig.from_pretrained(
            str(folder) if folder.is_dir() else base_model,
            trust_remote_code=False,
            local_files_only=not folder.is_dir() and unreachable(base_model),
        )
        # The module tree without its numbers: exact for every family, and no formula to maintain.
        with torch.device("meta"):
            model: Any = AutoModelForCausalLM.from_config(config)
    head = model.get_output_embeddings()
    linears = []
    for name, part in model.named_modules():
        if part is not head and isinstance(part, torch.nn.Linear):
            linears.append((name, part.in_features, part.out_features))
        elif isinstance(part, Conv1D):  # GPT-2's linear layers, transposed
            linears.append((name, int(part.nx), int(part.nf)))
    text = config.get_text_config()
    return BaseShape(
        n_parameters=sum(weight.numel() for weight in model.parameters()),
        n_linear=sum(inputs * outputs for _, inputs, outputs in linears),
        layers=int(text.num_hidden_layers),
        width=int(text.hidden_size),
        vocabulary=int(text.vocab_size),
        linears=tuple(linears),
        context=getattr(text, "max_position_embeddings", None),
    )


def refuse_missing(settings: TrainSettings) -> None:
    """Raise TrainError for a tracker or an attention kernel that is not installed."""
    tracker = settings.tracker
    modules = ("tensorboard", "tensorboardX") if tracker == "tensorboard" else (tracker,)
    if tracker != "none" and not any(find_spec(module) for module in modules):
        raise TrainError(
            f"train.tracker = {tracker!r} needs a library that is not installed",
            f"`pip install {tracker}`, or leave train.tracker out",
        )
    if settings.attention == "flash_attention_2" and find_spec("flash_attn") is None:
        raise TrainError(
            "train.attention = 'flash_attention_2' needs flash-attn, which is not installed",
            "`pip install flash-attn --no-build-isolation` on a machine with CUDA, or take sdpa",
        )


def refuse_unfit(shape: BaseShape, settings: TrainSettings, longest: int = 0) -> None:
    """Raise TrainError for layers that a base lacks, and for rows beyond its context.

    `longest` is the longest row in tokens, 0 while it is unknown.
    """
    settings = settings.resolved()
    if settings.target_modules != "all-linear":
        missing = [name for name in settings.target_modules if not shape.adapted([name])]
        if missing:
            # The last words of the layers' paths, each once, in their order.
            known = dict.fromkeys(name.rsplit(".", 1)[-1] for name, *_ in shape.linears)
            raise TrainError(
                f"train.target_modules names {', '.join(map(repr, missing))}, which"
                f" {settings.base_model!r} does not have",
                f"take some of {', '.join(known)}, or all-linear",
            )
    if shape.context is not None and longest > shape.context:
        raise TrainError(
            f"train.max_length = {settings.max_length} lets rows of {longest} tokens through, but"
            f" the context of {settings.base_model!r} is {shape.context} tokens",
            f"--set train.max_length={shape.context}",
        )


@contextmanager
def fitting() -> Iterator[None]:
    """Turn what the libraries raise for settings that a base cannot satisfy into one line."""
    try:
        yield
    except (ValueError, TypeError, KeyError, NotImplementedError, ImportError) as error:
        traceback.print_exc()
        raise TrainError(
            f"the base cannot be trained with these settings ({first_line(error)})",
            "change the setting of [train] that the message names",
        ) from error


def tracked(settings: TrainSettings, folder: Path) -> str:
    """Return the tracker by transformers' name, and direct its files into the run's folder.

    What the user has set in the environment stays.
    """
    places = {
        "TENSORBOARD_LOGGING_DIR": folder / "tracker",
        "WANDB_DIR": folder,
        "TRACKIO_DIR": folder / "tracker",
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder.resolve() / 'mlflow.db'}",
    }
    for name, place in places.items():
        os.environ.setdefault(name, str(place))
    return settings.tracker


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where a training will run; `flops` are the multiplications and additions a second."""

    kind: str
    name: str
    memory_bytes: float
    flops: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Tokens that go through the model: trained on, held out, of one pass, and of answers."""

    train_tokens: float
    held_out_tokens: float
    pass_tokens: int
    trained_share: float
    answer_tokens: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Bytes by part, and the seconds between which the training will probably take."""

    parts: Mapping[str, float]
    seconds: tuple[float, float]

    @property
    def memory_bytes(self) -> float:
        """Return the peak: loading is over when training begins."""
        loading = self.parts.get("loading", 0.0)
        return max(loading, sum(size for name, size in self.parts.items() if name != "loading"))


def estimate(shape: BaseShape, settings: TrainSettings, work: Work, machine: Machine) -> Estimate:
    """Return the memory and the time that a training will probably take."""
    settings = settings.resolved()
    parts = _memory_parts(shape, settings, work, machine)
    return Estimate(parts=parts, seconds=_seconds(shape, settings, work, machine))


def _memory_parts(
    shape: BaseShape, settings: TrainSettings, work: Work, machine: Machine
) -> dict[str, float]:
    """Return the bytes of weights, adapter, optimizer, activations and logits.

    On a GPU they add up to the allocator's peak, to which the driver adds about half a gigabyte.
    """
    kind = machine.kind
    unit = 4.0 if kind == "cpu" else 2.0
    linear = shape.n_linear * _weight_bytes(settings, unit)
    other = (shape.n_parameters - shape.n_linear) * unit
    adapter = adapter_parameters(shape, settings)
    layer = (
        KEPT_SHARE[kind] * KEPT_BYTES[kind] * sum(i + o for _, i, o in shape.linears) / shape.layers
    )
    if settings.gradient_checkpointing:
        # The inputs of all layers, and what the one being recomputed keeps.
        kept = layer + shape.layers * shape.width * unit
    else:
        kept = layer * shape.layers
    labelled = max(1.0, work.pass_tokens * work.trained_share)
    parts = {
        "runtime": RUNTIME_BYTES if kind == "cpu" else 0.0,
        "weights": linear + other,
        "adapter": adapter * 8.0,
        "optimizer": adapter * OPTIMIZERS[settings.optimizer],
        "activations": work.pass_tokens * kept,
        "logits": min(LOGITS[kind], labelled * shape.vocabulary * 12.0)
        + labelled * (shape.width * 12.0 + shape.vocabulary * LEFT_BYTES[kind]),
    }
    if kind == "cpu":
        if _keeps_full_weights(shape, settings, machine):
            parts["full weights"] = 4.0 * shape.n_linear
        # The file is read in 16 bits, page by page, while the weights are made from it.
        parts["loading"] = parts["runtime"] + 2.0 * shape.n_parameters + linear + other
    return parts


def _keeps_full_weights(shape: BaseShape, settings: TrainSettings, machine: Machine) -> bool:
    """Tell whether the 4-bit weights are kept dequantised as well (train/model/adapter.py)."""
    fits = 4.0 * shape.n_linear <= machine.memory_bytes / 4
    plain = settings.quantisation in {"nf4", "fp4"} and not (settings.dora or settings.dropout)
    return fits and plain


def adapter_parameters(shape: BaseShape, settings: TrainSettings) -> int:
    """Return the size of a LoRA adapter in numbers: rank x (inputs + outputs) of each layer."""
    adapted = shape.adapted(settings.target_modules)
    directions = sum(outputs for _, _, outputs in adapted) if settings.dora else 0
    return settings.rank * sum(inputs + outputs for _, inputs, outputs in adapted) + directions


def step_flops(shape: BaseShape, settings: TrainSettings, trained_share: float) -> float:
    """Return the operations of one token: forward, and backward by activations alone.

    The base is frozen, so the backward pass costs as much as the forward one, not twice as much
    (Kaplan et al. 2020, arXiv 2001.08361, count 2 a weight forward); checkpointing adds a forward.
    """
    passes = 3 if settings.gradient_checkpointing else 2
    body = 2.0 * shape.n_linear * passes
    head = 2.0 * shape.vocabulary * shape.width * 2 * trained_share
    return body + head + 6.0 * adapter_parameters(shape, settings)


def this_machine(width: int = 1024) -> Machine:
    """Measure this machine: its memory, and the speed of a matrix product in half a second.

    A GPU is measured by a process of its own: what opens one holds half a gigabyte of it until it
    ends, and the training needs that.
    """
    import torch

    return measure_apart(width) if torch.cuda.is_available() else measure_machine(width)


def measure_apart(width: int) -> Machine:
    """Return what another process measures; raises TrainError where it cannot."""
    done = subprocess.run(
        [sys.executable, "-m", __name__, str(width)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1][:200]
        raise TrainError(
            f"this machine's GPU cannot be used ({last})", "see what `memoirist doctor` finds"
        )
    return Machine(**json.loads(done.stdout.splitlines()[-1]))


def measure_machine(width: int) -> Machine:
    """Measure this machine in this process."""
    import torch

    if torch.cuda.is_available():
        free, _ = torch.cuda.mem_get_info()
        half = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
        flops = _product_flops("cuda", half, 4096)
        name = torch.cuda.get_device_name()
        return Machine(kind="cuda", name=name, memory_bytes=float(free), flops=flops)
    flops = _product_flops("cpu", torch.float32, max(256, min(width, 2048)))
    memory = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return Machine(kind="cpu", name="CPU", memory_bytes=memory, flops=flops)


def _product_flops(device: Any, dtype: Any, width: int) -> float:
    import torch

    left = torch.randn(512, width, device=device, dtype=dtype)
    right = torch.randn(width, width, device=device, dtype=dtype)
    best, began = float("inf"), time.monotonic()
    while time.monotonic() - began < 0.4:
        start = time.perf_counter()
        (left @ right).sum().item()  # waits for the device
        best = min(best, time.perf_counter() - start)
    return 2.0 * 512 * width * width / best


def _weight_bytes(settings: TrainSettings, unit: float) -> float:
    """Return the bytes of one frozen weight; scales stand for blocks of 64 (QLoRA, section 3)."""
    if settings.quantisation == "none":
        return unit
    if settings.quantisation == "int8":
        return 1.0
    return 0.5 + ((1 + 4 / 256) / 64 if settings.double_quantisation else 4 / 64)


def _seconds(
    shape: BaseShape, settings: TrainSettings, work: Work, machine: Machine
) -> tuple[float, float]:
    speed = machine.flops * EFFICIENCY[machine.kind]
    train = work.train_tokens * step_flops(shape, settings, work.trained_share)
    held_out = work.held_out_tokens * 2.0 * (shape.n_parameters)
    answers = work.answer_tokens * (2.0 * shape.n_parameters / speed + 0.0008 * shape.layers)
    middle = (train + held_out) / speed + answers
    low, high = TIME_RANGE
    return STARTING_SECONDS * low + middle * low, STARTING_SECONDS * high + middle * high


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(measure_machine(int(sys.argv[1])))) + "\n")
