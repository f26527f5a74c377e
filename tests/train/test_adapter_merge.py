"""Merging weight by weight: equal to a merge in memory, and refused where it fails."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from memoirist.data.schema.errors import TrainError
from memoirist.train.dataset.tokenize import IGNORE, TokenRow, prompt_ids, tokenize
from memoirist.train.export.hub_upload import complete_adapter, trains_tokens
from memoirist.train.loop.memory import free_memory, need_memory
from memoirist.train.loop.run_folder import base_of, load_checkpoint, mark_whole
from memoirist.train.merge.adapter_merge import merge_checkpoint
from memoirist.train.merge.merged_weights import (
    Deltas,
    Way,
    deltas_of,
    keys_in_files,
    merge_weight,
    rewrite_weights,
    stored_weights,
)
from memoirist.train.merge.parity import Parity, Reference, _spread, compare, observe, report
from memoirist.train.model.adapter import with_adapter
from memoirist.train.model.model_loader import load_base, quiet
from memoirist.train.model.prepared_base import TINY, PreparedBase, prepare_base
from memoirist.train.settings import MergeSettings, TrainSettings
from tests.support.families import make_family

# isort: split


TURNS = [
    {"role": "user", "content": "Who are you?"},
    {"role": "assistant", "content": "Your father's miller."},
]


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """A tiny base and an adapter with random changes, on the disk."""

    base: PreparedBase
    adapter: Path
    trained: TrainSettings
    row: TokenRow

    def load(self, quantisation: Any = None) -> Any:
        held = quantisation or self.trained.quantisation
        double = self.trained.double_quantisation
        return PeftModel.from_pretrained(
            load_base(self.base.path, held, double=double), self.adapter
        )


def tune(folder: Path, family: str, *, tied: bool, **settings: Any) -> Tuned:
    """Return an adapter as a training would leave it, with every weight of it drawn at random."""
    quiet()
    base = prepare_base(str(make_family(folder / "model", family, tied=tied)), folder / "bases")
    trained = TrainSettings(rank=4, **settings)
    row = tokenize(TURNS, AutoTokenizer.from_pretrained(base.path), 200)
    assert row is not None
    held = load_base(base.path, trained.quantisation, double=trained.double_quantisation)
    model = with_adapter(held, base, trained, [row])
    torch.manual_seed(3)
    for name, weight in model.named_parameters():
        if weight.requires_grad and "magnitude" not in name:
            weight.data += 0.05 * torch.randn_like(weight)
    model.save_pretrained(folder / "adapter", save_embedding_layers=False)
    return Tuned(base=base, adapter=folder / "adapter", trained=trained, row=row)


def merged_by_hand(tuned: Tuned, way: Way) -> Any:
    """Return what peft makes of base and adapter in memory."""
    model: Any = load_base(tuned.base.path, "none")
    if way == "dequantised":
        trained = tuned.trained
        held: Any = load_base(
            tuned.base.path, trained.quantisation, double=trained.double_quantisation
        )
        model = held.dequantize().float()
    return PeftModel.from_pretrained(model, tuned.adapter).merge_and_unload()


def write(tuned: Tuned, target: Path, way: Way, deltas: Deltas) -> Any:
    """Merge weight by weight into `target` and return the model as anyone loads it."""
    names = {key: name for name, key in keys_in_files(tuned.base.path).items()}
    assert deltas.touched <= {names.get(each.key) for each in stored_weights(tuned.base.path)}
    target.mkdir()
    (target / "config.json").write_text((tuned.base.path / "config.json").read_text())

    def change(key: str, weight: torch.Tensor) -> torch.Tensor:
        name = names.get(key, "")
        if name not in deltas.touched:
            return weight
        return merge_weight(name, weight, deltas, way, tuned.trained)

    size = rewrite_weights(tuned.base.path, target, change, torch.float32)
    assert size < sum(path.stat().st_size for path in target.glob("*.safetensors"))
    return AutoModelForCausalLM.from_pretrained(target, dtype=torch.float32, use_safetensors=True)


def run_of(tuned: Tuned, workspace: Path) -> Path:
    """Lay an adapter out as the first checkpoint of a run in a workspace that holds its base."""
    shutil.copytree(tuned.base.path.parent, workspace / "bases")
    folder = workspace / "runs" / "a"
    checkpoint = folder / "checkpoints" / "checkpoint-1"
    shutil.copytree(tuned.adapter, checkpoint)
    mark_whole(checkpoint)
    request = {
        "settings": tuned.trained.model_dump(),
        "base_path": str(tuned.base.path),
        "base_hash": tuned.base.hash,
    }
    (folder / "train.json").write_text(json.dumps(request), "utf-8")
    return folder


@pytest.mark.parametrize("quantisation", ["none", "nf4"])
def test_a_served_checkpoint_is_the_checkpoint(quantisation: str, tmp_path: Path) -> None:
    tuned = tune(tmp_path, "Llama 2", tied=False, quantisation=quantisation)
    folder = run_of(tuned, tmp_path / "workspace")
    merge_checkpoint(folder, 1, tmp_path / "served")
    served = AutoModelForCausalLM.from_pretrained(tmp_path / "served", dtype=torch.float32)
    model, tokenizer = load_checkpoint(folder, 1)
    asked = [prompt_ids(TURNS[:1], tokenizer)]
    settings = MergeSettings(max_new_tokens=8)
    found = compare(
        served, tokenizer, observe(model, tokenizer, [tuned.row], asked, settings), settings
    )
    assert found.kl < 1e-6
    assert found.alike(settings.max_kl)
    assert AutoTokenizer.from_pretrained(tmp_path / "served").eos_token_id == tuned.base.end_id


def test_a_copied_workspace_stands_by_itself(tuned: Tuned, tmp_path: Path) -> None:
    folder = run_of(tuned, tmp_path / "copy")
    own = tmp_path / "copy" / "bases" / tuned.base.path.name
    assert base_of(folder).path == own
    # Where the copy holds another base under that name, or none, the one that was named is left.
    manifest = json.loads((own / "prepared.json").read_text())
    (own / "prepared.json").write_text(json.dumps({**manifest, "hash": "0" * 64}))
    assert base_of(folder).path == tuned.base.path
    shutil.rmtree(own)
    assert base_of(folder).path == tuned.base.path
    shutil.rmtree(folder)
    with pytest.raises(TrainError, match=r"folder .* is missing or incomplete; put it back"):
        base_of(folder)


def test_probabilities_are_compared_over_many_rows(tuned: Tuned) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tuned.base.path)
    settings = MergeSettings(max_new_tokens=1)
    asked = [prompt_ids(TURNS[:1], tokenizer)]
    observed = observe(tuned.load(), tokenizer, [tuned.row] * 20, asked, settings)
    answered = sum(label != IGNORE for label in tuned.row.labels[1:])
    assert len(observed.log_probabilities) == 16 * answered
    assert _spread([1, 2, 3, 4, 5, 6, 7], 3) == [1, 3, 5]
    assert _spread([1, 2], 3) == [1, 2]


CASES: list[tuple[str, bool, dict[str, Any]]] = [
    ("Llama 3", False, {}),
    ("Gemma 2", True, {"quantisation": "fp4", "double_quantisation": False}),
    ("Phi 3", False, {"rslora": True}),
    ("GPT-NeoX", False, {}),
    ("OPT", True, {}),
    ("Qwen3", True, {"dora": True}),
    ("Llama 2", False, {"quantisation": "int8"}),
    ("Gemma 3 with eyes", True, {}),
]


@pytest.mark.medium
@pytest.mark.parametrize(("family", "tied", "settings"), CASES)
def test_weight_by_weight_equals_a_merge_in_memory(
    family: str, tied: bool, settings: dict[str, Any], tmp_path: Path
) -> None:
    tuned = tune(tmp_path, family, tied=tied, **settings)
    deltas = deltas_of(tuned.load())
    assert deltas.loras
    assert len(deltas.rows) == (1 if tied else 2)
    ways: tuple[Way, ...] = ("dequantised", "original")
    for way in ways:
        ours = write(tuned, tmp_path / way, way, deltas)
        wanted = merged_by_hand(tuned, way)
        for name, weight in wanted.named_parameters():
            found = ours.get_parameter(name)
            if "vision_tower" in name:
                # Never trained: held in few bits for nothing, and merged as it was.
                weight = load_base(tuned.base.path, "none").get_parameter(name)
            assert torch.allclose(found, weight.float(), atol=1e-6), (way, name)


def test_one_weight_is_held_and_the_files_keep_their_keys(tmp_path: Path) -> None:
    quiet()
    source = tmp_path / "sharded"
    folder = make_family(tmp_path / "model", "Qwen2", tied=False)
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.save_pretrained(source, max_shard_size="40KB")
    assert len(list(source.glob("*.safetensors"))) > 2
    target = tmp_path / "target"
    target.mkdir()
    seen: list[str] = []

    def change(key: str, weight: torch.Tensor) -> torch.Tensor:
        seen.append(key)
        return weight + 1 if key.endswith("q_proj.weight") else weight

    rewrite_weights(source, target, change, torch.bfloat16)
    assert sorted(seen) == sorted(each.key for each in stored_weights(source))
    assert {p.name for p in target.iterdir()} == {p.name for p in source.glob("model*")}
    told = json.loads((target / "model.safetensors.index.json").read_text())
    assert set(told["weight_map"]) == set(seen)
    for each in stored_weights(target):
        assert each.dtype == "BF16"
        with safe_open(target / each.file, framework="pt") as file:
            assert file.metadata() == {"format": "pt"}
            weight = file.get_tensor(each.key)
        before = model.get_parameter(each.key).to(torch.bfloat16)
        moved = 1 if each.key.endswith("q_proj.weight") else 0
        assert torch.equal(weight, before + moved)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Tuned:
    return tune(tmp_path_factory.mktemp("tuned"), "Llama 2", tied=False)


def compared(tuned: Tuned, model: Any, prompts: int = 6) -> Parity:
    tokenizer = AutoTokenizer.from_pretrained(tuned.base.path)
    settings = MergeSettings(max_new_tokens=8)
    asked = [
        prompt_ids([{"role": "user", "content": f"Number {n}?"}], tokenizer) for n in range(prompts)
    ]
    reference = observe(tuned.load(), tokenizer, [tuned.row], asked, settings)
    return compare(model, tokenizer, reference, settings)


def test_the_trained_model_is_told_from_another(tuned: Tuned) -> None:
    same = compared(tuned, merged_by_hand(tuned, "dequantised"))
    assert same.alike(1e-4)
    assert (same.equal + same.ties, same.differs) == (6, ())
    other = merged_by_hand(tuned, "dequantised")
    with torch.no_grad():
        other.get_output_embeddings().weight.mul_(-1)
    different = compared(tuned, other)
    assert not different.alike(1e-4)
    assert different.differs
    assert different.kl > 1e-2


@pytest.mark.parametrize(("lead", "ties"), [(2e-5, 1), (2e-2, 0)])
def test_a_draw_is_no_difference_and_a_lead_is(tuned: Tuned, lead: float, ties: int) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tuned.base.path)
    prompt = prompt_ids(TURNS[:1], tokenizer)
    models = {sign: tuned.load() for sign in (-1, 1)}
    with torch.inference_mode():
        inner = models[1].get_base_model().model
        last = inner(torch.tensor([prompt])).last_hidden_state[0, -1]
    for sign, model in models.items():
        # One token leads another by `lead` in the first model and follows it in the second.
        rows = model.get_base_model().lm_head.token_adapter.trainable_tokens_delta["default"]
        rows.data[0] = 30 * last / last.dot(last)
        rows.data[1] = (30 + sign * lead) * last / last.dot(last)
    settings = MergeSettings(max_new_tokens=1)
    reference = observe(models[-1], tokenizer, [tuned.row], [prompt], settings)
    found = compare(models[1], tokenizer, reference, settings)
    assert found.answers != reference.answers
    assert (found.equal, found.ties, len(found.differs)) == (0, ties, 1 - ties)


def test_too_little_memory_is_told_before(tmp_path: Path) -> None:
    assert 2**20 < free_memory() < 2**50
    with pytest.raises(TrainError, match="merging needs 2 MB of memory and 1 MB are free; close"):
        need_memory(2 * 2**20, 2**20, "merging", "close other programs")
    need_memory(2**20, 2**20, "merging", "close other programs")


def test_an_adapter_names_the_base_that_others_can_load(tuned: Tuned, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    shutil.copytree(tuned.adapter, adapter)
    config = adapter / "adapter_config.json"
    complete_adapter(adapter, tuned.base)
    # Its token rows belong to the prepared base and to no other.
    assert json.loads(config.read_text())["base_model_name_or_path"] == str(tuned.base.path)
    assert trains_tokens(adapter)
    assert AutoTokenizer.from_pretrained(adapter).eos_token_id == tuned.base.end_id
    plain = {**json.loads(config.read_text()), "trainable_token_indices": None}
    config.write_text(json.dumps(plain))
    complete_adapter(adapter, replace(tuned.base, name="someone/base", new_ids=()))
    assert json.loads(config.read_text())["base_model_name_or_path"] == "someone/base"
    assert not trains_tokens(adapter)


def test_the_report_shows_what_is_answered_otherwise() -> None:
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    prompt, before, after = (
        tokenizer(text)["input_ids"] for text in ("Who *are* you?", "The miller.", "| A clerk.")
    )
    reference = Reference(
        rows=[], prompts=[prompt], answers=[before], nearest=[], log_probabilities=torch.zeros(1),
        loss=1.0,
        base_loss=2.0, stopped=1,
    )  # fmt: skip
    parity = Parity(
        prompts=1, equal=0, ties=0, stopped=1, kl=1e-3, loss=1.5, answers=[after], differs=[0]
    )
    text = report(reference, {"dequantised": parity}, "dequantised", tokenizer)
    assert "| dequantised (kept) | 1 | 0 | 0 | 1 | 1.0e-03 | 1.5000 |" in text
    assert text.endswith(
        "\n## Who \\*are\\* you?\n\n- base + adapter: The miller.\n- merged: \\| A clerk.\n"
    )
