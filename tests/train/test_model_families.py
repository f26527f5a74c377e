"""Base families: each kind of row is learnt, merged, loaded by others and ended by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig, AutoTokenizer

from memoirist.train.dataset.tokenize import IGNORE, prompt_ids, tokenize
from memoirist.train.model.model_loader import load_base
from memoirist.train.model.prepared_base import prepare_base
from tests.support.families import CHATML, FAMILIES, make_family
from tests.support.one_sentence import LEARNT, Kind, try_family

# isort: split


TURNS = [
    {"role": "system", "content": "You are Edith."},
    {"role": "user", "content": "微调测试"},
    {"role": "assistant", "content": "我学会了"},
]


# All families with all kinds of rows: python -m tests.benchmarks.families
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind", "variant"),
    [
        ("Llama 3", "chatml", {"tied": True}),
        ("Gemma 2", "native", {}),
        ("GPT-NeoX", "text", {"chatml": True}),
    ],
)
def test_one_sentence_is_learnt_merged_and_said(
    name: str, kind: Kind, variant: dict[str, Any], tmp_path: Path
) -> None:
    trial = try_family(tmp_path, name, kind, **variant)
    assert trial.said == {"merged": (LEARNT, True), "adapter": (LEARNT, True)}
    assert trial.merged.alike
    assert trial.merged.figures["kl"] <= 1e-4


@pytest.mark.parametrize("chatml", [False, True])
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_prepared_for_chatml(name: str, chatml: bool, tmp_path: Path) -> None:
    source = make_family(tmp_path / "model", name, chatml=chatml)
    before = AutoTokenizer.from_pretrained(source)
    base = prepare_base(str(source), tmp_path / "bases")
    tokenizer = AutoTokenizer.from_pretrained(base.path)
    assert tokenizer.convert_tokens_to_ids(list(CHATML)) == [base.start_id, base.end_id]
    assert len(base.new_ids) == (0 if chatml else 2)
    assert base.vocabulary >= len(tokenizer)
    row = tokenize(TURNS, tokenizer, 200)
    assert row is not None
    # What is trained is what servers render, and the prompt is its beginning.
    rendered = tokenizer.apply_chat_template(
        TURNS, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    assert rendered["input_ids"] == row.input_ids
    assert rendered["assistant_masks"] == [int(label != IGNORE) for label in row.labels]
    prompt = prompt_ids(TURNS[:2], tokenizer)
    assert row.input_ids[: len(prompt)] == prompt
    opening = before("x")["input_ids"][:1]
    opens = opening == [before.bos_token_id]
    assert row.input_ids.count(tokenizer.bos_token_id) == (1 if opens else 0)
    assert (row.input_ids[0] == tokenizer.bos_token_id) is opens
    words = [label for label in row.labels if label != IGNORE]
    assert words[-1] == base.end_id
    assert tokenizer.decode(words[:-1]) == "我学会了"
    # Layers in few bits, whatever they are called; embeddings and head are left whole.
    model = load_base(base.path, "nf4")
    packed = [n for n, m in model.named_modules() if type(m).__name__ == "Linear4bit"]
    assert len(packed) >= 2 * 4
    assert AutoConfig.from_pretrained(base.path).eos_token_id == base.end_id
