"""Estimate memory and time of a training before it starts, from the base's shape alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from memoirist.data.schema.errors import TrainError
from memoirist.train.loop.process import environment
from memoirist.train.presets import OPTIMIZERS
from memoirist.train.requirements import BaseShape
from memoirist.train.settings import TrainSettings

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
    """Tell whether the 4-bit weights are kept dequantised as well (train/model/fused_lora.py)."""
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
        [sys.executable, "-m", __name__, str(width)],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
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
