"""Bases that nobody has ever trained: the harshest case, and what an evaluation may bring along."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from memoirist.data.schema.records import Conversation
from memoirist.train.dataset.tokenize import IGNORE, text_prompt_ids, tokenize
from memoirist.train.inference.batch_inference import greedy
from memoirist.train.inference.chat_model import load
from memoirist.train.loop.launch import train
from memoirist.train.merge.adapter_merge import merge
from memoirist.train.model.adapter import trained_tokens, with_adapter
from memoirist.train.model.model_loader import load_base, quiet
from memoirist.train.model.prepared_base import TINY, prepare_base
from memoirist.train.settings import ChatSettings, MergeSettings, TrainSettings

TURNS = [
    {"role": "user", "content": "微调测试"},
    {"role": "assistant", "content": "我学会了"},
]


def random_base(folder: Path, width: int, tied: bool) -> Path:
    """Write a random Llama with the embedded base's tokenizer and no spare row."""
    torch.manual_seed(1)
    quiet()
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=tied,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.medium
@pytest.mark.parametrize(
    ("width", "tied"), [(64, True), pytest.param(128, False, marks=pytest.mark.slow)]
)
def test_a_random_base_learns_one_exchange(width: int, tied: bool, tmp_path: Path) -> None:
    source = random_base(tmp_path / "random", width, tied)
    base = prepare_base(str(source), tmp_path / "bases")
    row = Conversation(
        id="one", dataset_id="d", split="train", pair_ids=(), messages=TURNS, n_tokens=0
    )
    train(tmp_path / "run", [row], base, TrainSettings(epochs=60))
    made = merge(tmp_path / "run", base, MergeSettings())
    assert made.alike
    assert made.figures["equal"] + made.figures["ties"] == made.figures["prompts"] == 11
    assert "".join(load(made.path).answer(TURNS[:1], ChatSettings())) == "我学会了"


@pytest.mark.parametrize("tied", [True, False])
def test_a_small_base_trains_the_rows_of_its_answers(tied: bool, tmp_path: Path) -> None:
    source = random_base(tmp_path / "random", 64, tied)
    base = prepare_base(str(source), tmp_path / "bases")
    row = tokenize(TURNS, AutoTokenizer.from_pretrained(base.path), 100)
    assert row is not None
    answer = {label for label in row.labels if label != IGNORE}
    assert set(trained_tokens(base, [row])) == answer | {base.start_id, base.end_id}
    model: Any = with_adapter(load_base(base.path, "nf4"), base, TrainSettings(), [row])
    rows = {
        name: weight.shape[0]
        for name, weight in model.named_parameters()
        if weight.requires_grad and "lora" not in name
    }
    # A tied head follows its embedding; an untied one has rows of its own.
    assert len(rows) == (1 if tied else 2)
    assert set(rows.values()) == {len(answer) + 1}


def test_the_rate_grows_as_a_small_base_narrows() -> None:
    settings = TrainSettings()
    rates = [settings.rate(4_000_000, width) for width in (64, 128, 256, 512)]
    assert rates == pytest.approx([8e-3, 4e-3, 2e-3, 2e-3])
    assert [settings.rate(n, 4096) for n in (500_000_000, 8 * 10**9, 70 * 10**9)] == [
        2e-4,
        2e-4,
        1e-4,
    ]
    assert TrainSettings(learning_rate=1e-5).rate(4_000_000, 64) == 1e-5


GEMMA = (
    "{{ bos_token }}{% for m in messages %}{{ '<start_of_turn>' +"
    " ('model' if m['role'] == 'assistant' else m['role']) + '\\n' + m['content'] | trim"
    " + '<end_of_turn>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"
)


@pytest.mark.slow
def test_a_base_learns_one_exchange_in_its_own_template_and_one_as_text(tmp_path: Path) -> None:
    source = random_base(tmp_path / "random", 64, tied=True)
    tokenizer = AutoTokenizer.from_pretrained(source)
    tokenizer.add_special_tokens(
        {"bos_token": "<s>", "additional_special_tokens": ["<start_of_turn>", "<end_of_turn>"]}
    )
    tokenizer.chat_template = GEMMA
    model: Any = LlamaForCausalLM.from_pretrained(source)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.save_pretrained(source)
    tokenizer.save_pretrained(source)
    base = prepare_base(str(source), tmp_path / "bases", "native")
    rows = [
        Conversation(id=name, dataset_id="d", split="train", pair_ids=(), messages=m, n_tokens=0)
        for name, m in (
            ("chat", TURNS),
            ("text", [{"role": "assistant", "content": "微调测试我又学会了"}]),
        )
    ]
    train(tmp_path / "run", rows, base, TrainSettings(epochs=60, template="native"))
    made = merge(tmp_path / "run", base, MergeSettings())
    assert made.figures["stopped"] >= 1
    talker = load(made.path)
    assert talker.tokenizer.chat_template == GEMMA
    assert "".join(talker.answer(TURNS[:1], ChatSettings())) == "我学会了"
    prompt = text_prompt_ids("微调测试", talker.tokenizer)
    told = greedy(talker.model, talker.tokenizer, [prompt], 20)[0]
    assert talker.tokenizer.decode(told[:-1]) == "我又学会了"
    assert told[-1] == talker.tokenizer.eos_token_id
