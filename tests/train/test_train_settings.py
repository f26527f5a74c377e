"""Every setting of training works for real, and what contradicts or is missing is told at once."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from memoirist.data.schema.errors import TrainError
from memoirist.data.schema.records import Conversation
from memoirist.flows import recipe as recipes
from memoirist.train.loop.launch import train
from memoirist.train.loop.trainer import _rate_share
from memoirist.train.merge.adapter_merge import merge
from memoirist.train.model.model_loader import load_base
from memoirist.train.model.prepared_base import PreparedBase, prepare_base
from memoirist.train.qlora import run
from memoirist.train.requirements import refuse_missing, refuse_unfit, shape_of
from memoirist.train.settings import PRESETS, MergeSettings, TrainSettings
from tests.conftest import ROOT
from tests.train.test_random_bases import TURNS, random_base

# isort: split


ADAPTER = "adapter_model.safetensors"
ROWS = [
    Conversation(id=name, dataset_id="d", split=split, pair_ids=(), messages=TURNS, n_tokens=0)
    for name, split in (("one", "train"), ("two", "test"))
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> PreparedBase:
    folder = tmp_path_factory.mktemp("toy")
    return prepare_base(str(random_base(folder / "random", 64, True)), folder / "bases")


@pytest.fixture
def signals() -> Iterator[None]:
    """Put the signal handlers back that a training in this process sets."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def trained(folder: Path, base: PreparedBase, settings: TrainSettings) -> dict[str, Any]:
    """Train in this process, which spares the imports of a child, and return its result."""
    folder.mkdir()
    row = {"id": "one", "split": "train", "messages": TURNS}
    (folder / "conversations.jsonl").write_text(json.dumps(row) + "\n", "utf-8")
    request = {
        "settings": settings.model_dump(),
        "base_path": str(base.path),
        "base_hash": base.hash,
    }
    (folder / "train.json").write_text(json.dumps(request), "utf-8")
    assert run(folder) == 0
    result: dict[str, Any] = json.loads((folder / "result.json").read_text("utf-8"))
    return result


@pytest.mark.slow
@pytest.mark.parametrize(
    "chosen",
    [
        {"quantisation": "fp4", "scheduler": "polynomial", "optimizer": "adafactor"},
        {"quantisation": "int8", "scheduler": "inverse_sqrt", "optimizer": "lion_8bit"},
        {"double_quantisation": False, "scheduler": "constant", "optimizer": "adamw_8bit"},
        {"quantisation": "none", "dora": True, "scheduler": "linear", "dropout": 0.1},
        {
            "rslora": True,
            "attention": "eager",
            "gradient_checkpointing": True,
            "optimizer": "paged_adamw_8bit",
            "target_modules": ["q_proj", "v_proj"],
            "warmup_share": 0.0,
        },
    ],
    ids=["fp4", "int8", "single", "plain-dora", "attention-only"],
)
@pytest.mark.usefixtures("signals")
def test_each_setting_trains(chosen: dict[str, Any], base: PreparedBase, tmp_path: Path) -> None:
    settings = TrainSettings.model_validate(
        {"epochs": 6, "rank": 4, "alpha": 8, "seed": 3, **chosen}
    )
    result = trained(tmp_path / "run", base, settings)
    losses = [
        json.loads(line)["loss"]
        for line in (tmp_path / "run" / "progress.jsonl").read_text("utf-8").splitlines()
    ]
    assert result["steps"] == len(losses) == 6
    assert losses[-1] < losses[0]
    adapter = tmp_path / "run" / "adapter"
    told = json.loads((adapter / "adapter_config.json").read_text("utf-8"))
    assert (told["use_rslora"], told["use_dora"]) == (settings.rslora, settings.dora)
    names = {name.split(".")[-3] for name in load_file(adapter / "adapter_model.safetensors")}
    wanted = settings.target_modules
    assert wanted == "all-linear" or {n for n in names if n.endswith("_proj")} == set(wanted)


@pytest.mark.medium
@pytest.mark.usefixtures("signals")
def test_the_first_step_learns_and_a_rate_of_nothing_is_told(
    base: PreparedBase, tmp_path: Path
) -> None:
    settings = TrainSettings(epochs=2, save_every=1, warmup_share=0.5, answers_per_save=0)
    assert trained(tmp_path / "run", base, settings)["moved"] is True
    first = load_file(tmp_path / "run" / "checkpoints" / "checkpoint-1" / ADAPTER)
    moved = [name for name, weight in first.items() if "lora_B" in name and weight.any()]
    assert len(moved) == sum("lora_B" in name for name in first)
    # Below the least number of float32: not one weight can move.
    frozen = settings.model_copy(update={"learning_rate": 1e-60})
    assert trained(tmp_path / "frozen", base, frozen)["moved"] is False


@pytest.mark.parametrize("scheduler", ["cosine", "linear", "constant_with_warmup", "inverse_sqrt"])
def test_the_rate_rises_from_its_first_share_to_the_peak(scheduler: str) -> None:
    from transformers import get_scheduler

    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    after = get_scheduler(scheduler, optimizer, num_warmup_steps=4, num_training_steps=40)
    assert after.lr_lambdas[0](0) == 0
    shares = [_rate_share(4, after.lr_lambdas[0], step) for step in range(40)]
    assert shares[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert min(shares) > 0
    assert sorted(shares[4:], reverse=True) == shares[4:]


def test_an_absent_kernel_package_is_nobodys_news() -> None:
    # bitsandbytes tells of it while it is imported, before any function of ours could hush it.
    code = (
        "import logging, train;"
        "print(logging.getLogger('bitsandbytes.backends.cpu.ops').isEnabledFor(logging.WARNING))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "False"


def test_layers_and_rows_that_a_base_cannot_take_are_one_line(base: PreparedBase) -> None:
    shape = shape_of(str(base.path))
    refuse_unfit(shape, TrainSettings(), longest=shape.context or 0)
    refuse_unfit(shape, TrainSettings(target_modules=["q_proj", "mlp.up_proj"]))
    known = r"take some of q_proj, k_proj, .*down_proj, or all-linear"
    told = rf"train.target_modules names 'c_attn', which 'tiny' does not have; {known}"
    with pytest.raises(TrainError, match=told):
        refuse_unfit(shape, TrainSettings(target_modules=["q_proj", "c_attn"]))
    with pytest.raises(TrainError, match=rf"is {shape.context} tokens; --set train.max_length="):
        refuse_unfit(shape, TrainSettings(), longest=(shape.context or 0) + 1)
    # A word by itself is a name, not a pattern over whole paths.
    listed = TrainSettings.model_validate({"target_modules": "q_proj, v_proj"})
    assert listed.target_modules == ["q_proj", "v_proj"]
    with pytest.raises(ValidationError, match="is not the name of a layer"):
        TrainSettings.model_validate({"target_modules": []})


@pytest.mark.usefixtures("signals")
def test_what_the_libraries_say_of_a_setting_is_one_line(
    base: PreparedBase, tmp_path: Path
) -> None:
    # Given to the child itself, past what is looked at before.
    settings = TrainSettings(epochs=1, target_modules=["nope"])
    with pytest.raises(TrainError, match=r"cannot be trained with these settings \(.*nope"):
        trained(tmp_path / "run", base, settings)


@pytest.mark.slow
@pytest.mark.usefixtures("signals")
def test_an_8_bit_base_is_merged_as_it_was_trained(base: PreparedBase, tmp_path: Path) -> None:
    settings = TrainSettings(epochs=20, quantisation="int8")
    trained(tmp_path / "run", base, settings)
    small = MergeSettings(method="dequantised", prompts=3, max_new_tokens=8)
    figures = merge(tmp_path / "run", base, small).figures
    # The rounding of activations to 8 bits is gone in the merged model, and that is all.
    assert figures["kl"] < 0.05


def test_the_base_is_held_as_the_settings_say(base: PreparedBase) -> None:
    kinds = {}
    for quantisation in ("nf4", "fp4", "int8", "none"):
        layer: Any = load_base(base.path, quantisation).model.layers[0].mlp.up_proj
        kinds[quantisation] = getattr(layer.weight, "quant_type", layer.weight.dtype)
    assert kinds == {"nf4": "nf4", "fp4": "fp4", "int8": torch.int8, "none": torch.float32}
    single: Any = load_base(base.path, "nf4", double=False).model.layers[0].mlp.up_proj
    assert single.weight.quant_state.state2 is None
    eager: Any = load_base(base.path, "none", attention="eager")
    assert eager.config._attn_implementation == "eager"


def test_a_preset_sets_what_is_not_given() -> None:
    told = TrainSettings(preset="8gb", max_length=1024).resolved()
    assert (told.max_length, told.micro_batch) == (1024, 1)
    assert told.gradient_checkpointing
    assert told.optimizer == "paged_adamw_8bit"
    # Told once, it stays: the run's own settings hold every key.
    assert TrainSettings.model_validate(told.model_dump()).resolved() == told
    assert TrainSettings(preset="80gb", effective_batch=2).resolved().micro_batch == 2
    assert TrainSettings().resolved() == TrainSettings()
    for name in PRESETS:
        TrainSettings.model_validate(TrainSettings(preset=name).resolved().model_dump())


def test_a_saved_recipe_keeps_what_wins_over_a_preset(tmp_path: Path) -> None:
    default = TrainSettings().max_length
    given = recipes.load(None, {"train.preset": "24gb", "train.max_length": default})
    saved = tmp_path / "recipe.toml"
    saved.write_text(recipes.dump(given), "utf-8")
    assert recipes.load(saved).train.resolved().max_length == default
    # The preset's own keys are not saved, so that another preset sets them anew.
    other = recipes.load(saved, {"train.preset": "8gb"}).train.resolved()
    assert other.optimizer == PRESETS["8gb"]["optimizer"]


def test_a_run_goes_on_under_another_preset_of_the_same_effect() -> None:
    plain = TrainSettings(max_length=512)
    assert TrainSettings(preset="cpu").lasting() == plain.lasting()
    assert TrainSettings(max_length=512, tracker="wandb", prompts=["Why?"]).lasting() == (
        plain.lasting()
    )
    assert TrainSettings(max_length=512, quantisation="fp4").lasting() != plain.lasting()


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        ({"optimizer": "adamw_troch"}, "did you mean 'adamw_torch'"),
        ({"dora": True, "quantisation": "int8"}, "use nf4 or none"),
        ({"micro_batch": 9, "effective_batch": 8}, "lower micro_batch"),
        ({"scheduler": "sine"}, "inverse_sqrt"),
        ({"preset": "16gb"}, "24gb"),
    ],
)
def test_what_cannot_be_is_refused(chosen: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        TrainSettings.model_validate(chosen)


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        ({"tracker": "wandb"}, "'wandb' needs a library .* `pip install wandb`"),
        ({"tracker": "mlflow"}, "pip install mlflow"),
        ({"tracker": "trackio"}, "pip install trackio"),
        ({"attention": "flash_attention_2"}, "pip install flash-attn"),
    ],
)
def test_a_missing_library_is_told_before_the_start(
    chosen: dict[str, Any], told: str, base: PreparedBase, tmp_path: Path
) -> None:
    settings = TrainSettings.model_validate(chosen)
    with pytest.raises(TrainError, match=told):
        refuse_missing(settings)
    with pytest.raises(TrainError, match=told):
        train(tmp_path / "run", ROWS, base, settings)
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("signals")
def test_the_curves_go_to_tensorboard(
    base: PreparedBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = pytest.importorskip("tensorboardX")
    # Set by the training for its own process, which is this one here.
    for name in ("TENSORBOARD_LOGGING_DIR", "WANDB_DIR", "TRACKIO_DIR", "MLFLOW_TRACKING_URI"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    settings = TrainSettings(epochs=4, tracker="tensorboard", answers_per_save=0)
    refuse_missing(settings)
    trained(tmp_path / "run", base, settings)
    (written,) = (tmp_path / "run" / "tracker").glob("events.out.tfevents.*")
    tags, at = set(), 0
    data = written.read_bytes()
    while at < len(data):
        # Each event: its length in 8 bytes, their checksum in 4, the event, its checksum in 4.
        length = int.from_bytes(data[at : at + 8], "little")
        event = board.proto.event_pb2.Event.FromString(data[at + 12 : at + 12 + length])
        tags |= {(value.tag, event.step) for value in event.summary.value}
        at += 16 + length
    assert {("train/loss", step) for step in (1, 2, 3, 4)} <= tags


def test_every_key_of_training_is_explained() -> None:
    for name, field in TrainSettings.model_fields.items():
        assert field.description, name
    keys = recipes.document_keys()
    assert all(f"# {name} =" in keys for name in TrainSettings.model_fields)
