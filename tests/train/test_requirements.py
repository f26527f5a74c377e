"""The estimate of memory and time: its parts add up, and move the way that they do in truth."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memoirist.train.requirements import (
    BaseShape,
    Machine,
    Work,
    adapter_parameters,
    estimate,
    measure_apart,
    step_flops,
    this_machine,
)
from memoirist.train.settings import TrainSettings

# Llama 3.1 8B by its published configuration.
LAYER = (
    ("q_proj", 4096, 4096),
    ("k_proj", 4096, 1024),
    ("v_proj", 4096, 1024),
    ("o_proj", 4096, 4096),
    ("gate_proj", 4096, 14336),
    ("up_proj", 4096, 14336),
    ("down_proj", 14336, 4096),
)
LINEARS = tuple((f"{n}.{name}", i, o) for n in range(32) for name, i, o in LAYER)
LLAMA = BaseShape(
    n_parameters=8_030_261_248,
    n_linear=sum(i * o for _, i, o in LINEARS),
    layers=32,
    width=4096,
    vocabulary=128_256,
    linears=LINEARS,
)
GPU = Machine(kind="cuda", name="a GPU", memory_bytes=24e9, flops=300e12)
WORK = Work(train_tokens=1e6, held_out_tokens=1e5, pass_tokens=1024, trained_share=0.8)
PLAIN = TrainSettings(gradient_checkpointing=True)


def memory(**chosen: object) -> float:
    settings = TrainSettings.model_validate({**PLAIN.model_dump(), **chosen})
    return estimate(LLAMA, settings, WORK, GPU).memory_bytes


def test_eight_billion_weights_take_what_is_published() -> None:
    parts = estimate(LLAMA, PLAIN, WORK, GPU).parts
    # NF4 with double quantisation: 4.127 bits a linear weight (QLoRA, section 3), 16 the others.
    linear, other = LLAMA.n_linear * 4.127 / 8, (LLAMA.n_parameters - LLAMA.n_linear) * 2
    assert parts["weights"] == pytest.approx(linear + other, rel=1e-3)
    # As peft counts them for rank 16 on all linear layers.
    assert adapter_parameters(LLAMA, PLAIN) == 41_943_040
    assert parts["adapter"] + parts["optimizer"] == 41_943_040 * 16


def test_every_setting_moves_the_estimate_its_way() -> None:
    plain = memory()
    assert memory(quantisation="int8") > plain
    assert memory(quantisation="none") > memory(quantisation="int8")
    assert memory(double_quantisation=False) > plain
    assert memory(gradient_checkpointing=False) > plain
    assert memory(rank=64) > plain
    assert memory(optimizer="paged_adamw_8bit") < plain
    assert memory(target_modules=["q_proj", "v_proj"]) < plain
    longer = replace(WORK, pass_tokens=4096)
    assert estimate(LLAMA, PLAIN, longer, GPU).memory_bytes > plain


@pytest.mark.parametrize(("preset", "gigabytes"), [("8gb", 8), ("12gb", 12), ("24gb", 24)])
def test_a_preset_fits_its_memory(preset: str, gigabytes: int) -> None:
    settings = TrainSettings.model_validate({"preset": preset}).resolved()
    assert settings.micro_batch is not None
    work = replace(WORK, pass_tokens=settings.micro_batch * settings.max_length)
    # Half a gigabyte is the driver's.
    assert estimate(LLAMA, settings, work, GPU).memory_bytes + 5e8 < gigabytes * 1e9


def test_time_grows_with_tokens_and_falls_with_speed() -> None:
    low, high = estimate(LLAMA, PLAIN, WORK, GPU).seconds
    assert 0 < low < high
    twice = replace(WORK, train_tokens=2e6)
    assert estimate(LLAMA, PLAIN, twice, GPU).seconds[0] > low
    faster = replace(GPU, flops=600e12)
    assert estimate(LLAMA, PLAIN, WORK, faster).seconds[1] < high
    # Checkpointing goes forward twice.
    without = TrainSettings(gradient_checkpointing=False)
    assert 1.3 < step_flops(LLAMA, PLAIN, 0.8) / step_flops(LLAMA, without, 0.8) < 1.5


@pytest.mark.medium
def test_a_cpu_pays_for_python_and_for_loading() -> None:
    machine = this_machine(256)
    assert machine.flops > 1e8
    assert machine.memory_bytes > 1e9
    # As a GPU is measured, so that this process does not hold it.
    assert measure_apart(256).memory_bytes == machine.memory_bytes
    small = replace(machine, kind="cpu", memory_bytes=1e12)
    found = estimate(LLAMA, PLAIN, WORK, small)
    assert found.parts["full weights"] == 4 * LLAMA.n_linear
    tight = estimate(LLAMA, PLAIN, WORK, replace(small, memory_bytes=64e9))
    assert "full weights" not in tight.parts
    # Reading 16 GB of weights takes more than training on them in 4 bits.
    assert tight.memory_bytes == tight.parts["loading"]
