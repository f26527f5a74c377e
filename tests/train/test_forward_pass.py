"""Rows through the model: packed as alone, fused as peft, and a head that is never kept whole."""

from __future__ import annotations

import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPTNeoXConfig,
    GraniteConfig,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    Qwen3Config,
)

from memoirist.train.dataset.batches import (
    StepDataset,
    best_fit,
    lay_end_to_end,
    pad_right,
    padded_bins,
    process_share,
    trained_count,
)
from memoirist.train.dataset.tokenize import IGNORE, TokenRow
from memoirist.train.loop.forward_pass import ForwardPass
from memoirist.train.model.adapter import fuse_lora, fuse_token_rows, with_adapter
from memoirist.train.model.model_loader import quiet
from memoirist.train.settings import TrainSettings

# isort: split


SMALL: dict[str, Any] = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "bos_token_id": None,
    "eos_token_id": 1,
    "pad_token_id": 0,
}
OPT = {
    **SMALL,
    "ffn_dim": 48,
    "word_embed_proj_dim": 32,
    "dropout": 0.0,
    "attention_dropout": 0.0,
}
CONFIGS: dict[str, Callable[[], Any]] = {
    "llama": lambda: LlamaConfig(**SMALL),
    "tied": lambda: LlamaConfig(**{**SMALL, "tie_word_embeddings": True}),
    "window": lambda: MistralConfig(**{**SMALL, "sliding_window": 7}),
    "qwen3": lambda: Qwen3Config(**SMALL),
    "gemma2": lambda: Gemma2Config(
        **{**SMALL, "query_pre_attn_scalar": 8, "final_logit_softcapping": 3.0}
    ),
    "granite": lambda: GraniteConfig(**{**SMALL, "logits_scaling": 4.0}),
    "neox": lambda: GPTNeoXConfig(
        **{k: v for k, v in SMALL.items() if k not in ("num_key_value_heads", "head_dim")}
    ),
    "opt": lambda: OPTConfig(**OPT),
}
TRAINED = (1, 5, 9)


def rows(*lengths: int, seed: int = 3) -> list[TokenRow]:
    chance = random.Random(seed)
    made = []
    for length in lengths:
        ids = [chance.randrange(2, 90) for _ in range(length)]
        start = chance.randrange(1, max(2, length - 2))
        made.append(TokenRow(input_ids=ids, labels=[IGNORE] * start + ids[start:]))
    return made


def tuned(name: str, *, fast: bool) -> Any:
    """Return a random model with an adapter that says something, in peft's way or in ours."""
    quiet()
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(CONFIGS[name]())
    base: Any = SimpleNamespace(new_ids=TRAINED, n_parameters=10**9)
    adapted = with_adapter(model, base, TrainSettings(rank=4))
    made: Any = adapted
    with torch.no_grad():
        for part, weight in adapted.named_parameters():
            if weight.requires_grad:
                weight += 0.05 * torch.randn(weight.shape) if "lora_A" not in part else 0.0
    if fast:
        assert fuse_token_rows(made) >= 1
        assert fuse_lora(made, 2**30) > 0
    return made


def by_hand(model: Any, chosen: list[TokenRow]) -> torch.Tensor:
    """Return the summed loss of rows that go alone through peft's own model."""
    total = torch.zeros(())
    for row in chosen:
        logits = model(torch.tensor([row.input_ids]), use_cache=False).logits[0, :-1]
        total = total + torch.nn.functional.cross_entropy(
            logits, torch.tensor(row.labels[1:]), ignore_index=IGNORE, reduction="sum"
        )
    return total


def gradients(model: Any) -> dict[str, torch.Tensor]:
    return {
        name: weight.grad.clone()
        for name, weight in model.named_parameters()
        if weight.requires_grad and weight.grad is not None
    }


@pytest.mark.parametrize("name", CONFIGS)
def test_a_pack_has_the_loss_and_the_gradients_of_its_rows_alone(name: str) -> None:
    chosen = rows(30, 4, 17, 2, 11)
    reference, model = tuned(name, fast=False), tuned(name, fast=True)
    wanted = by_hand(reference.eval(), chosen)
    wanted.backward()
    passes = ForwardPass(model, packing=True)
    assert passes.packed, name
    assert (passes.head is None) == (name in ("gemma2", "granite"))
    assert [len(each) for each in passes.bins(chosen, 64)] == [5]
    loss = passes.run(chosen, torch.autograd.backward)
    assert float(loss) == pytest.approx(float(wanted.detach()), rel=1e-5)
    theirs, ours = gradients(reference), gradients(model)
    assert theirs.keys() == ours.keys()
    for part, gradient in theirs.items():
        assert torch.allclose(gradient, ours[part], rtol=1e-3, atol=1e-5), part
    # And padded, where a model allows nothing else.
    model.zero_grad()
    passes.packed = False
    padded = passes.run(chosen, torch.autograd.backward)
    assert float(padded) == pytest.approx(float(wanted.detach()), rel=1e-5)
    for part, gradient in theirs.items():
        assert torch.allclose(gradient, gradients(model)[part], rtol=1e-3, atol=1e-5), part


def test_a_model_that_leaks_is_padded_instead() -> None:
    model = tuned("llama", fast=True)
    layer = model.get_base_model().model.layers[0]
    plain = layer.forward

    def mixing(hidden: torch.Tensor, *arguments: Any, **named: Any) -> Any:
        # As a state space does: something of each token stays for all that come after.
        return plain(hidden + 0.1 * hidden.cumsum(dim=1), *arguments, **named)

    layer.forward = mixing
    passes = ForwardPass(model, packing=True)
    assert not passes.packed
    chosen = rows(12, 9, 9)
    assert [len(each) for each in passes.bins(chosen, 24)] == [2, 1]
    alone = sum(float(passes.run([row])) for row in chosen)
    assert passes.measure(chosen, 40).total == pytest.approx(alone, rel=1e-5)
    assert not ForwardPass(tuned("llama", fast=True), packing=False).packed


def test_the_head_works_in_chunks_and_with_a_disabled_adapter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chosen = rows(30, 25, 17)
    model = tuned("tied", fast=True)
    whole = ForwardPass(model, packing=True).measure(chosen, 100)
    monkeypatch.setattr("memoirist.train.loop.forward_pass.CPU_LOGITS", 96 * 5)
    passes = ForwardPass(model, packing=True)
    assert passes.measure(chosen, 100).total == pytest.approx(whole.total, rel=1e-6)
    assert whole.tokens == trained_count(chosen)
    reference = tuned("tied", fast=False)
    with model.disable_adapter(), reference.disable_adapter():
        base = float(by_hand(reference.eval(), chosen).detach())
        assert passes.measure(chosen, 100).total == pytest.approx(base, rel=1e-5)
    assert base != pytest.approx(whole.total, rel=1e-3)


def test_gradient_checkpointing_keeps_the_rows_apart() -> None:
    chosen = rows(30, 4, 17)
    plain, saving = tuned("llama", fast=True), tuned("llama", fast=True)
    saving.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    for model in (plain, saving):
        model.train()
        ForwardPass(model, packing=True).run(chosen, torch.autograd.backward)
    for part, gradient in gradients(plain).items():
        assert torch.allclose(gradient, gradients(saving)[part], rtol=1e-4, atol=1e-6), part


def test_generation_is_not_changed_by_packing() -> None:
    model = tuned("window", fast=True).eval()
    prompt = torch.tensor([[0, 0, 7, 8, 9, 10, 11, 12, 13, 14], list(range(20, 30))])
    mask = torch.tensor([[0, 0, *[1] * 8], [1] * 10])
    asked = {"attention_mask": mask, "max_new_tokens": 6, "do_sample": False}
    before = model.generate(prompt, **asked)
    assert ForwardPass(model, packing=True).packed
    assert torch.equal(model.generate(prompt, **asked), before)


def test_best_fit_fills_and_loses_nothing() -> None:
    chance = random.Random(1)
    for _ in range(50):
        lengths = [chance.randrange(1, 130) for _ in range(chance.randrange(1, 40))]
        bins = best_fit(lengths, 100)
        assert sorted(at for each in bins for at in each) == list(range(len(lengths)))
        for each in bins:
            assert sum(lengths[at] for at in each) <= 100 or len(each) == 1
        # Best-fit decreasing needs at most 11/9 of the bins of the best packing, plus one.
        assert len(bins) <= 11 / 9 * (sum(min(n, 100) for n in lengths) // 100 + len(lengths)) + 1
    assert [[9, 7][at] for each in best_fit([7, 9], 9) for at in each] == [7, 9]
    assert padded_bins([5, 9, 5, 5], 15) == [[1], [0, 2, 3]]


def test_no_row_predicts_the_next_one() -> None:
    first = TokenRow(input_ids=[5, 6], labels=[IGNORE, 6])
    second = TokenRow(input_ids=[7, 8, 9], labels=[7, 8, IGNORE])
    pack = lay_end_to_end([first, second], torch.device("cpu"))
    assert pack.positions.tolist() == [[0, 1, 0, 1, 2]]
    assert (pack.places.tolist(), pack.targets.tolist()) == ([0, 2], [6, 8])
    padded = pad_right([first, second], torch.device("cpu"))
    assert (padded.places.tolist(), padded.targets.tolist()) == ([0, 3], [6, 8])
    assert trained_count([first, second]) == 2


def test_a_step_depends_on_seed_and_number_alone() -> None:
    made = rows(*range(3, 13))
    steps = StepDataset(made, per_step=4, steps=9, seed=5)
    again = StepDataset(made, per_step=4, steps=9, seed=5)
    seen = [[id(row) for row in steps[at].rows] for at in range(9)]
    assert [[id(row) for row in again[at].rows] for at in (8, 3, 0)] == [seen[8], seen[3], seen[0]]
    for epoch in range(3):
        together = [row for step in seen[3 * epoch : 3 * epoch + 3] for row in step]
        assert sorted(together) == sorted(id(row) for row in made)
    assert seen[:3] != seen[3:6]
    assert [len(step) for step in seen] == [4, 4, 2] * 3
    with pytest.raises(IndexError):
        steps[9]
    for world in (1, 2, 3):
        shares = [process_share(steps[0].rows, rank, world) for rank in range(world)]
        assert sorted(id(r) for part in shares for r in part) == sorted(seen[0])
