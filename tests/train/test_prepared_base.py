"""The prepared base: ChatML tokens in models of every kind, made once, told apart by its hash."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from memoirist.data.schema.errors import TrainError
from memoirist.train.dataset.tokenize import tokenize
from memoirist.train.export.gguf import SCRIPT, to_gguf
from memoirist.train.model.model_loader import quiet
from memoirist.train.model.prepared_base import MANIFEST, PreparedBase, prepare_base, read_base
from tests.conftest import ROOT, environment

# isort: split


TURNS = [
    {"role": "user", "content": "Who are you?"},
    {"role": "assistant", "content": "Your father’s miller."},
]
CHATML = ("<|im_start|>", "<|im_end|>")
RESERVED = tuple(f"<|reserved_special_token_{n}|>" for n in range(4))


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One way in which a base can come; `rows` is its embedding's height beyond its tokens."""

    special: Sequence[str] = ("<s>", "</s>")
    plain: Sequence[str] = ()
    spare: int = 0
    tied: bool = False
    bos: bool = False
    pad: str | None = None
    end: str | None = "</s>"
    new: int = 2
    fields: dict[str, Any] = field(default_factory=dict)


KINDS = {
    "resized": Kind(),
    "resized and tied": Kind(tied=True),
    "resized, one BOS": Kind(bos=True),
    "spare rows": Kind(spare=62),
    "spare rows and tied": Kind(spare=62, tied=True),
    "one spare row": Kind(spare=1),
    "ChatML in the vocabulary": Kind(special=("<s>", "</s>", *CHATML), new=0, pad="</s>"),
    "ChatML is its own end": Kind(special=("<s>", *CHATML), end="<|im_end|>", new=0),
    "ChatML as plain tokens": Kind(plain=CHATML, new=0),
    "only the end in the vocabulary": Kind(special=("<s>", "</s>", "<|im_end|>"), new=1, spare=9),
    "reserved tokens": Kind(special=("<s>", "</s>", *RESERVED), bos=True),
    "no end and no padding": Kind(special=("<s>",), end=None),
}


def make(folder: Path, kind: Kind) -> Path:
    """Save a real model of a few thousand weights with a real tokenizer, as `kind` says."""
    quiet()
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=list(kind.special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(["the river rose above the old mill, and the father"], trainer)
    core.add_tokens(list(kind.plain))
    if kind.bos:
        at = core.token_to_id("<s>")
        core.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", at)]
        )
    names = {"bos_token": "<s>", "eos_token": kind.end, "pad_token": kind.pad}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, **{name: token for name, token in names.items() if token}
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer) + kind.spare,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        tie_word_embeddings=kind.tied,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    return folder


def prepared(tmp_path: Path, name: str) -> tuple[PreparedBase, Any, Any, Any, Any]:
    """Return the prepared base, with its and the original's tokenizer and model as loaded."""
    folder = make(tmp_path / "model", KINDS[name])
    base = prepare_base(str(folder), tmp_path / "bases")
    quiet()
    loaded = [
        loader.from_pretrained(path)
        for path in (base.path, folder)
        for loader in (AutoTokenizer, AutoModelForCausalLM)
    ]
    return base, loaded[0], loaded[1], loaded[2], loaded[3]


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_base_is_prepared_and_loads_again(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    base, tokenizer, model, before, _ = prepared(tmp_path, name)
    assert tokenizer.convert_tokens_to_ids(list(CHATML)) == [base.start_id, base.end_id]
    assert len(base.new_ids) == kind.new
    # One token each in a text, wherever they came from.
    row = tokenize(TURNS, tokenizer, 500)
    assert row is not None
    assert row.input_ids.count(base.start_id) == row.input_ids.count(base.end_id) == 2
    assert row.input_ids.count(tokenizer.bos_token_id) == int(kind.bos)
    assert [*row.labels][-2] == base.end_id
    height = model.get_input_embeddings().weight.shape[0]
    assert base.vocabulary == height == model.get_output_embeddings().weight.shape[0]
    assert max(row.input_ids) < len(tokenizer) <= height
    # The end of an answer, wherever a server may look for it.
    assert tokenizer.eos_token_id == model.config.eos_token_id == base.end_id
    ends = model.generation_config.eos_token_id
    assert base.end_id in (ends if isinstance(ends, list) else [ends])
    assert (before.eos_token_id is None) or before.eos_token_id in [*ends, base.end_id]
    assert tokenizer.pad_token_id == model.generation_config.pad_token_id
    assert tokenizer.pad_token_id not in (None, base.end_id)
    assert model.config.tie_word_embeddings is kind.tied
    assert sum(p.numel() for p in model.parameters()) == base.n_parameters


@pytest.mark.parametrize("name", ["resized", "resized and tied", "spare rows", "reserved tokens"])
def test_new_rows_start_from_the_end_token_and_the_mean(name: str, tmp_path: Path) -> None:
    base, _, model, before, old = prepared(tmp_path, name)
    length = len(before)
    for now, then in (
        (model.get_input_embeddings().weight, old.get_input_embeddings().weight),
        (model.get_output_embeddings().weight, old.get_output_embeddings().weight),
    ):
        mean = then[:length].float().mean(dim=0)
        assert torch.equal(now[base.end_id], then[before.eos_token_id])
        assert torch.allclose(now[base.start_id].float(), mean, atol=2e-4)
        assert not torch.equal(now[base.start_id], now[base.end_id])
        known = [n for n in range(length) if n not in base.new_ids]
        assert torch.equal(now[known], then[known])
    assert torch.isfinite(model.get_input_embeddings().weight).all()


def test_rows_that_the_vocabulary_had_are_left_alone(tmp_path: Path) -> None:
    base, _, model, _, old = prepared(tmp_path, "ChatML in the vocabulary")
    for name, weight in old.named_parameters():
        assert torch.equal(model.get_parameter(name), weight), name
    assert base.new_ids == ()


def test_there_is_one_resize_and_only_where_rows_are_missing(tmp_path: Path) -> None:
    heights = {}
    for name in ("resized", "spare rows", "one spare row", "reserved tokens"):
        base, _, _, before, old = prepared(tmp_path / name, name)
        heights[name] = (old.get_input_embeddings().weight.shape[0], base.vocabulary)
        if name == "spare rows":
            assert base.new_ids == (len(before), len(before) + 1)
    assert heights["spare rows"][0] == heights["spare rows"][1]
    assert heights["reserved tokens"][0] == heights["reserved tokens"][1]
    # A height that GPUs multiply well, just above what is needed.
    assert heights["resized"][1] % 64 == heights["one spare row"][1] % 64 == 0
    assert 0 < heights["resized"][1] - heights["resized"][0] <= 66


def test_reserved_tokens_are_renamed_in_place(tmp_path: Path) -> None:
    base, tokenizer, _, before, _ = prepared(tmp_path, "reserved tokens")
    assert (base.start_id, base.end_id) == tuple(before.convert_tokens_to_ids(list(RESERVED[:2])))
    assert len(tokenizer) == len(before)
    assert RESERVED[0] not in tokenizer.get_vocab()
    assert RESERVED[2] in tokenizer.get_vocab()


def test_exactly_one_bos_in_the_template_as_servers_render_it(tmp_path: Path) -> None:
    _, tokenizer, _, _, _ = prepared(tmp_path, "resized, one BOS")
    row = tokenize(TURNS, tokenizer, 500)
    assert row is not None
    ids = tokenizer.apply_chat_template(TURNS, tokenize=True, return_dict=True)["input_ids"]
    assert ids == row.input_ids
    assert ids.count(tokenizer.bos_token_id) == 1
    assert ids[0] == tokenizer.bos_token_id


def test_the_same_model_gives_the_same_base_and_is_prepared_once(tmp_path: Path) -> None:
    folder = make(tmp_path / "model", KINDS["resized"])
    first = prepare_base(str(folder), tmp_path / "bases")
    written = {path: path.stat().st_mtime_ns for path in first.path.iterdir()}
    second = prepare_base(str(folder), tmp_path / "bases")
    assert second == first
    assert {path: path.stat().st_mtime_ns for path in first.path.iterdir()} == written
    elsewhere = prepare_base(str(folder), tmp_path / "others")
    assert elsewhere.hash == first.hash
    assert read_base(first.path) == first
    assert not list((tmp_path / "bases").glob(".making-*"))


def test_a_changed_source_is_another_base(tmp_path: Path) -> None:
    folder = make(tmp_path / "model", KINDS["resized"])
    first = prepare_base(str(folder), tmp_path / "bases")
    make(folder, KINDS["resized and tied"])
    second = prepare_base(str(folder), tmp_path / "bases")
    assert (second.path, second.hash) != (first.path, first.hash)


@pytest.mark.parametrize("damage", ["a byte", "a file less", "a file more", "the manifest"])
def test_a_damaged_base_is_refused(damage: str, tmp_path: Path) -> None:
    folder = make(tmp_path / "model", KINDS["resized"])
    base = prepare_base(str(folder), tmp_path / "bases")
    weights = base.path / "model.safetensors"
    if damage == "a byte":
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(content)
    elif damage == "a file less":
        (base.path / "tokenizer.json").unlink()
    elif damage == "a file more":
        (base.path / "adapter.json").write_text("{}")
    else:
        (base.path / MANIFEST).write_text(json.dumps({"hash": base.hash}))
    with pytest.raises(TrainError, match="damaged or was changed; remove that folder"):
        prepare_base(str(folder), tmp_path / "bases")


def test_sentencepiece_is_kept_for_llama_cpp_and_read_by_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make(tmp_path / "model", KINDS["reserved tokens"])
    (folder / "tokenizer.model").write_bytes(b"pieces")
    base = prepare_base(str(folder), tmp_path / "bases")
    assert AutoTokenizer.from_pretrained(base.path)("<|im_end|>")["input_ids"][1] == base.end_id
    # What the converter finds: the pieces under their own name, and the tokens renamed since.
    (tmp_path / SCRIPT).write_text(
        "import pathlib, sys\n"
        "model = pathlib.Path(sys.argv[1])\n"
        "told = [(model / n).read_text() for n in ('tokenizer.model', 'added_tokens.json')]\n"
        "pathlib.Path(sys.argv[3]).write_text('GGUF' + ''.join(told))\n"
    )
    monkeypatch.setenv("LLAMA_CPP", str(tmp_path))
    made = to_gguf(base.path, base, tmp_path / "model.gguf").read_text()
    assert made.startswith("GGUFpieces")
    added = json.loads(made.removeprefix("GGUFpieces"))
    assert added == {"<|im_start|>": base.start_id, "<|im_end|>": base.end_id}


def test_the_rest_of_a_killed_preparation_is_replaced(tmp_path: Path) -> None:
    folder = make(tmp_path / "model", KINDS["resized"])
    base = prepare_base(str(folder), tmp_path / "bases")
    (base.path / MANIFEST).unlink()
    assert prepare_base(str(folder), tmp_path / "bases") == base


@pytest.mark.parametrize("fault", ["missing", "empty", "torn", "holes", "nan", "pickle"])
def test_a_base_that_cannot_be_used_says_so_in_one_line(fault: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    if fault == "empty":
        folder.mkdir()
    elif fault != "missing":
        make(folder, KINDS["resized"])
    weights = folder / "model.safetensors"
    if fault == "torn":
        weights.write_bytes(weights.read_bytes()[:3000])
    elif fault in ("holes", "nan", "pickle"):
        from safetensors.torch import load_file, save_file

        tensors = load_file(weights)
        name = "model.layers.0.self_attn.k_proj.weight"
        if fault == "holes":
            del tensors[name]
        else:
            tensors[name][0, 0] = float("nan")
        save_file(tensors, weights, metadata={"format": "pt"})
        if fault == "pickle":
            torch.save(tensors, folder / "pytorch_model.bin")
            weights.unlink()
    with pytest.raises(TrainError) as raised:
        prepare_base(str(folder), tmp_path / "bases")
    assert "\n" not in str(raised.value)
    assert str(folder) in str(raised.value)
    left = tmp_path / "bases"
    assert not left.exists() or not list(left.iterdir())


@pytest.mark.medium
def test_a_hub_id_without_a_hub_says_so_in_one_line_and_soon(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib, memoirist.data.schema.errors as e\n"
        "import memoirist.train.model.prepared_base as b\n"
        "try: b.prepare_base('nobody/no-such-model', pathlib.Path(sys.argv[1]))\n"
        "except e.TrainError as error: print(error)\n"
    )
    # An address where nothing listens: the hub is not asked, and its retries would take a minute.
    extra = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "hub")}
    started = time.monotonic()
    told = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "bases")],
        cwd=ROOT,
        env={k: v for k, v in environment(**extra).items() if k != "HF_HUB_OFFLINE"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert time.monotonic() - started < 30
    assert told.stdout.count("\n") == 1, told.stdout
    assert "nobody/no-such-model" in told.stdout
    assert "connect to the hub once, give a local folder" in told.stdout
    assert told.stderr == ""


@pytest.mark.parametrize("name", ["/no/such/folder", "./no-such-folder", "a/b/c"])
def test_what_is_no_hub_id_is_not_asked_for(name: str, tmp_path: Path) -> None:
    with pytest.raises(TrainError, match="there is no model at"):
        prepare_base(name, tmp_path / "bases")
