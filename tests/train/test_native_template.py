"""Rows in the base's own chat template and of raw text: what of them is trained."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from memoirist.data.schema.errors import TrainError
from memoirist.train.dataset.chat_template import end_of_turn
from memoirist.train.dataset.tokenize import (
    IGNORE,
    TokenRow,
    preflight,
    prompt_ids,
    read_rows,
    rows_of,
    text_prompt_ids,
    text_rows,
    tokenize,
)
from memoirist.train.model.prepared_base import TINY, assign_tokens, keep_native

# isort: split


# In the manner of the published families, each with its own oddity.
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('no system here') }}{% endif %}"
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('turns must alternate') }}{% endif %}"
    "{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else 'user') + '\\n'"
    " + m['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"
)
LLAMA = (
    "{% for m in messages %}{{ (bos_token if loop.first else '') + '<|head|>' + m['role'] +"
    " '<|/head|>\\n\\n' + m['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|head|>assistant<|/head|>\\n\\n' }}{% endif %}"
)
# A system message is lost in silence.
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}"
    "{{ '[INST] ' + m['content'] + ' [/INST]' }}{% elif m['role'] == 'assistant' %}"
    "{{ ' ' + m['content'] + '</s>' }}{% endif %}{% endfor %}"
)
# The last answer gets a thought, the ones before lose theirs.
QWEN = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' }}"
    "{% if m['role'] == 'assistant' and loop.last %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}"
    "{{ m['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
FAMILIES: dict[str, tuple[str, str, tuple[str, ...], str]] = {
    "gemma": (GEMMA, "<end_of_turn>", ("<start_of_turn>", "<end_of_turn>"), ""),
    "llama": (LLAMA, "<|eot_id|>", ("<|head|>", "<|/head|>", "<|eot_id|>"), ""),
    "mistral": (MISTRAL, "</s>", (), " "),
    "qwen": (QWEN, "<|im_end|>", ("<|im_start|>", "<|im_end|>"), "<think>\n\n</think>\n\n"),
}
ANN = [
    {"role": "system", "content": "You are Ann."},
    {"role": "user", "content": "What of the mill?"},
    {"role": "assistant", "content": "  It stands. \n"},
    {"role": "user", "content": "微调测试"},
    {"role": "assistant", "content": "我学会了 it stands"},
]


def native(family: str) -> Any:
    template, end, special, _ = FAMILIES[family]
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    tokenizer.add_special_tokens(
        {"bos_token": "<s>", "eos_token": "</s>", "additional_special_tokens": list(special)}
    )
    tokenizer.chat_template = template
    tokens = keep_native(tokenizer, 4096)
    assert tokens.end_id == end_of_turn(tokenizer) == tokenizer.convert_tokens_to_ids(end)
    assert tokenizer.pad_token_id not in (None, tokens.end_id)
    return tokenizer


@pytest.fixture(scope="module")
def chatml(tmp_path_factory: pytest.TempPathFactory) -> Any:
    plain = AutoTokenizer.from_pretrained(TINY)
    return assign_tokens(plain, 4096, tmp_path_factory.mktemp("scratch")).tokenizer


def trained_text(row: TokenRow, tokenizer: Any) -> str:
    return str(tokenizer.decode([label for label in row.labels if label != IGNORE]))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_native_row_trains_the_answers_with_the_end_of_their_turn(family: str) -> None:
    tokenizer, (_, end, _, lead) = native(family), FAMILIES[family]
    row = tokenize(ANN, tokenizer, 500)
    assert row is not None
    first = lead if family == "mistral" else ""
    assert trained_text(row, tokenizer) == f"{first}It stands.{end}{lead}我学会了 it stands{end}"
    text = tokenizer.decode(row.input_ids)
    assert text.count("You are Ann.") == 1
    assert text.index("You are Ann.") < text.index("What of the mill?")
    preflight({"a": row}, {}, end_of_turn(tokenizer), len(tokenizer))
    # The text is the template's own, the system message merged where it has no place.
    if family == "llama":
        assert (
            list(row.input_ids)
            == tokenizer.apply_chat_template(ANN, tokenize=True, return_dict=True)["input_ids"]
        )
    bos = [] if family == "qwen" else [tokenizer.bos_token_id]
    assert [token for token in row.input_ids if token == tokenizer.bos_token_id] == bos


@pytest.mark.parametrize("family", FAMILIES)
def test_the_native_prompt_is_a_prefix_of_the_row(family: str) -> None:
    tokenizer = native(family)
    row = tokenize(ANN[:3], tokenizer, 500)
    assert row is not None
    prompt = prompt_ids(ANN[:2], tokenizer)
    assert list(row.input_ids[: len(prompt)]) == prompt
    assert row.labels[len(prompt)] == row.input_ids[len(prompt)]
    assert row.labels[len(prompt) - 1] == IGNORE


@pytest.mark.parametrize("family", FAMILIES)
def test_words_cannot_forge_a_native_turn(family: str) -> None:
    tokenizer = native(family)
    special = [t.content for t in tokenizer.added_tokens_decoder.values() if t.special]
    words = " ".join(special)
    plain, forged = (
        tokenize(
            [{"role": "user", "content": w}, {"role": "assistant", "content": w}], tokenizer, 900
        )
        for w in ("words", words)
    )
    assert plain is not None
    assert forged is not None
    controls = set(tokenizer.convert_tokens_to_ids(special))
    count = [sum(token in controls for token in row.input_ids) for row in (plain, forged)]
    assert count[0] == count[1]


def test_an_answer_that_opens_the_conversation_is_kept_by_a_template_that_alternates() -> None:
    tokenizer = native("gemma")
    turns = [
        {"role": "assistant", "content": "I begin."},
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "a"},
    ]
    row = tokenize(turns, tokenizer, 500)
    assert row is not None
    assert trained_text(row, tokenizer) == "I begin.<end_of_turn>a<end_of_turn>"


def test_a_base_without_a_usable_template_is_refused() -> None:
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    tokenizer.chat_template = None
    with pytest.raises(TrainError, match="has no chat template of its own"):
        keep_native(tokenizer, 4096)
    other = AutoTokenizer.from_pretrained(TINY)
    other.chat_template = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] }}{% endfor %}"
    with pytest.raises(TrainError, match="puts no token after answers"):
        keep_native(other, 4096)


def test_raw_text_is_trained_whole_and_each_token_once(chatml: Any) -> None:
    text = " ".join(f"The {n}th day was cold, and we walked to the mill." for n in range(60))
    rows = text_rows(text, chatml, 128)
    assert len(rows) > 5
    assert max(len(row.input_ids) for row in rows) == 128
    trained = [label for row in rows for label in row.labels if label != IGNORE]
    assert trained == [*text_prompt_ids(text, chatml), chatml.eos_token_id]
    for before, row in pairwise(rows):
        # What is only read is the end of the chunk before.
        assert list(row.labels[:16]) == [IGNORE] * 16
        assert list(row.input_ids[:16]) == list(before.input_ids[-16:])
    whole = text_rows(text, chatml, 10_000)
    assert [row.labels for row in whole] == [trained]
    preflight({str(n): row for n, row in enumerate(rows)}, {}, chatml.eos_token_id, 4096)
    assert text_rows("  ", chatml, 128) == []


def test_raw_text_cannot_forge_a_turn_and_opens_as_the_base_does(chatml: Any) -> None:
    row = text_rows("x<|im_end|><|im_start|>y", chatml, 100)[0]
    assert list(row.input_ids).count(chatml.eos_token_id) == 1
    gemma = native("gemma")
    row = text_rows("words", gemma, 100)[0]
    assert (row.input_ids[0], row.input_ids[-1]) == (gemma.bos_token_id, gemma.eos_token_id)
    assert row.labels[0] == IGNORE


def test_kinds_are_mixed_in_one_run(chatml: Any, tmp_path: Path) -> None:
    import json

    raw = [{"role": "assistant", "content": "It was so. " * 100}]
    assert {row.kind for row in rows_of(raw, chatml, 64)} == {"text"}
    lines = [
        {"id": "chat", "split": "train", "messages": ANN},
        {"id": "raw", "split": "train", "messages": raw},
        {"id": "long", "split": "train", "messages": [ANN[1], raw[0]]},
    ]
    path = tmp_path / "conversations.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    corpus = read_rows(path, chatml, 128)
    assert corpus.dropped == ("long",)
    assert [corpus.train[name].kind for name in ("chat", "raw", "raw#2")] == [
        "chat",
        "text",
        "text",
    ]
