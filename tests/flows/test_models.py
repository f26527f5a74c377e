"""Finished models: listed, picked, exported, pushed with their card, loaded by other tools."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from markdown_it import MarkdownIt
from peft import AutoPeftModelForCausalLM
from transformers import AutoModelForCausalLM, AutoTokenizer

from memoirist.data.composition.chatml import IM_END, IM_START, render
from memoirist.data.evaluation.intervals import Estimate
from memoirist.data.schema.errors import MemoiristError
from memoirist.data.schema.records import Model
from memoirist.flows.cli import options
from memoirist.flows.models.model_card import card
from memoirist.flows.models.model_registry import export_model, list_models, pick, push_model
from memoirist.flows.rights_ledger import note_rights
from memoirist.flows.runtime.context import Context
from memoirist.train.dataset.chat_template import native_prompt, native_segments
from memoirist.train.dataset.tokenize import prompt_ids
from memoirist.train.export.gguf import SCRIPT
from memoirist.train.export.ollama import modelfile
from memoirist.train.inference.batch_inference import greedy
from memoirist.train.loop.launch import read_result
from memoirist.train.loop.run_folder import steps_kept
from memoirist.train.model.model_loader import load_base, quiet
from memoirist.train.settings import ChatSettings
from tests.conftest import run
from tests.support.families import NATIVE, make_family
from tests.support.model_hub import ModelHub, ModelRepository

# isort: split


CONVERTER = """#!{python}
import json, pathlib, sys
model, target = pathlib.Path(sys.argv[1]), sys.argv[sys.argv.index("--outfile") + 1]
if json.loads((model / "config.json").read_text())["vocab_size"] < 10:
    sys.exit("Model LlamaForCausalLM is not supported")
pathlib.Path(target).write_bytes(b"GGUF" + (model / "model.safetensors").read_bytes()[:100])
"""


@pytest.fixture(scope="module")
def context(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Context:
    """Open a copy of the built workspace."""
    folder = tmp_path_factory.mktemp("models") / "workspace"
    shutil.copytree(built / "workspace", folder)
    return options.open_workspace(folder, None, options.overrides(["merge.prompts=4"]))


def run_id(context: Context) -> str:
    return str(context.workspace.store.value("SELECT id FROM runs"))


def merged(context: Context) -> Path:
    model = context.workspace.store.nouns(Model, "champion")[0]
    return context.workspace.root / str(model.merged_path)


def test_models_are_listed_with_their_figures(built: Path) -> None:
    listed = run(built, "models", "list", "--format", "json")
    assert listed.returncode == 0, listed.stderr
    (row,) = json.loads(listed.stdout)
    assert row["champion"] is True
    assert row["alike"] is True
    assert row["equal"] + (row["prompts"] - row["equal"]) == row["prompts"] == 12
    assert row["kl"] <= 1e-4
    assert row["loss_merged"] == pytest.approx(row["loss_adapter"], rel=1e-3)
    assert row["loss_adapter"] < row["loss_base"]
    assert row["checkpoints"]


def picked(context: Context, name: str) -> Model:
    pick(context, name)
    (model,) = context.workspace.store.nouns(Model, "champion")
    return model


def test_a_checkpoint_is_picked_by_hand_and_the_kept_one_again(context: Context) -> None:
    store = context.workspace.store
    before = store.nouns(Model, "champion")[0]
    steps = steps_kept(context.workspace.run_folder(before.run_id))
    model = picked(context, f"{before.run_id[:6]}:{steps[0]}")
    assert (model.step, model.champion) == (steps[0], True)
    assert store.nouns(Model, "champion") == [model]
    folder = context.workspace.root / str(model.merged_path)
    assert folder.name == f"merged-{steps[0]}"
    assert model.loss_merged != before.loss_merged
    assert (folder / "README.md").exists()
    assert steps_kept(context.workspace.run_folder(before.run_id)) == steps
    # Other settings of [merge] than those that the run was merged under: it is merged again.
    again = picked(context, before.run_id)
    assert (before.prompts, again.prompts) == (12, 4)
    assert (again.step, again.way, again.dtype) == (None, before.way, before.dtype)
    assert picked(context, before.run_id).prompts == 4
    kept = store.nouns(Model, "champion")
    export_model(context, f"{before.run_id}:{steps[0]}", "ollama", None)
    assert store.nouns(Model, "champion") == kept
    assert not list_models(context).rows[0][5]
    with pytest.raises(MemoiristError, match=f"'zz' matches no run; give .*{before.run_id}"):
        pick(context, "zz")
    with pytest.raises(MemoiristError, match=":x' is not a checkpoint; give RUN or RUN:STEP"):
        pick(context, f"{before.run_id}:x")
    with pytest.raises(MemoiristError, match="no checkpoint of step 7777"):
        pick(context, f"{before.run_id}:7777")
    # What is gone is made again, and the table tells of what is there now.
    context.recipe.merge = context.recipe.merge.model_copy(update={"prompts": 3})
    shutil.rmtree(merged(context))
    export_model(context, None, "ollama", None)
    assert store.nouns(Model, "champion")[0].prompts == 3
    assert (merged(context) / "model.safetensors").exists()


def test_the_adapter_alone_is_loaded_by_other_tools(context: Context) -> None:
    quiet()
    model = context.workspace.store.nouns(Model, "champion")[0]
    adapter = context.workspace.root / model.adapter_path
    tuned = AutoPeftModelForCausalLM.from_pretrained(adapter, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(adapter)
    turns = [{"role": "user", "content": "Who are you?"}]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert text == f"{IM_START}user\nWho are you?{IM_END}\n{IM_START}assistant\n"
    answer = greedy(tuned, tokenizer, [prompt_ids(turns, tokenizer)], 12)
    base = load_base(
        adapter.parent
        / json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"],
        "none",
    )
    assert answer != greedy(base, tokenizer, [prompt_ids(turns, tokenizer)], 12)
    told = (adapter / "README.md").read_text("utf-8")
    assert yaml.safe_load(told.split("---")[1])["library_name"] == "peft"
    assert "vLLM cannot load such an adapter" in told


def test_the_merged_folder_answers_in_chatml_with_no_further_setting(context: Context) -> None:
    quiet()
    folder = merged(context)
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    turns = [{"role": "user", "content": "What did your father do?"}]
    ids = tokenizer.apply_chat_template(
        turns, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )["input_ids"]
    assert tokenizer.decode(ids[0]) == render(turns, add_generation_prompt=True)
    with torch.inference_mode():
        answer = model.generate(ids, max_new_tokens=40, do_sample=False)[0]
    assert len(answer) > ids.shape[1]
    ends = model.generation_config.eos_token_id
    assert tokenizer.convert_tokens_to_ids(IM_END) in (ends if isinstance(ends, list) else [ends])


def test_gguf_is_made_by_the_converter_on_the_path(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LLAMA_CPP", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MemoiristError, match=rf"{SCRIPT} is not in PATH; fetch llama.cpp"):
        export_model(context, None, "gguf", None)
    script = tmp_path / SCRIPT
    script.write_text(CONVERTER.format(python=sys.executable))
    script.chmod(0o755)
    made = export_model(context, None, "gguf", None)
    weights = (merged(context) / "model.safetensors").read_bytes()
    assert made.read_bytes() == b"GGUF" + weights[:100]
    assert made.parent == context.workspace.exports / run_id(context)
    # Where Ollama is to read it from now on.
    lines = export_model(context, None, "ollama", None).read_text("utf-8").splitlines()
    assert lines[0] == f"FROM {made.resolve()}"
    script.write_text(f"#!{sys.executable}\nraise SystemExit('Model X is not supported')\n")
    monkeypatch.setenv("LLAMA_CPP", str(tmp_path))
    with pytest.raises(MemoiristError, match=r"no GGUF of .*merged' \(Model X is not supported\)"):
        export_model(context, None, "gguf", tmp_path / "other.gguf")
    assert [path.name for path in tmp_path.iterdir()] == [SCRIPT]


def test_the_modelfile_lies_beside_the_merged_model(context: Context) -> None:
    text = (merged(context) / "Modelfile").read_text("utf-8")
    assert text.startswith("FROM .\n")
    assert f'PARAMETER stop "{IM_END}"' in text
    assert "You are an AI persona" in text.split('SYSTEM """')[1].split('"""')[0]
    template = text.split('TEMPLATE """')[1].split('"""')[0]
    turns = [
        {"role": "system", "content": "You are Edith."},
        {"role": "user", "content": "Who are you?"},
        {"role": "assistant", "content": "The miller's."},
        {"role": "user", "content": "And he?"},
    ]
    assert ollama(template, turns) == render(turns, add_generation_prompt=True)


@pytest.mark.parametrize("name", NATIVE)
@pytest.mark.parametrize("system", [True, False])
def test_a_native_template_is_put_into_ollamas_language(
    name: str, system: bool, tmp_path: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(make_family(tmp_path, name))
    text = modelfile("./model.gguf", tokenizer, "", ChatSettings(), 512)
    template = text.split('TEMPLATE """')[1].split('"""')[0]
    turns = [
        *([{"role": "system", "content": "Be Edith."}] if system else []),
        {"role": "user", "content": "Who are you?"},
        {"role": "assistant", "content": "The miller's."},
        {"role": "user", "content": "And he?"},
    ]
    wanted = native_prompt(turns, tokenizer).removeprefix(str(tokenizer.bos_token))
    assert ollama(template, turns) == wanted
    end = "".join(piece for piece, told in native_segments(turns[:-1], tokenizer) if told)
    stop = re.search('PARAMETER stop "(.*)"', text)
    assert stop
    assert end.endswith(stop[1])


def ollama(template: str, turns: list[dict[str, str]]) -> str:
    """Render the part of Go's templates that we write, as Ollama does."""
    system = turns[0]["content"] if turns[0]["role"] == "system" else ""
    loop = re.fullmatch(
        r"\{\{- range (?:\$i, \$m := )?\.Messages \}\}(.*)\{\{ end \}\}(.*)", template, re.DOTALL
    )
    assert loop
    told = ""
    for number, turn in enumerate(turns):
        body = loop[1]
        branches = re.fullmatch(
            r'\{\{ if eq \.Role "system" \}\}(.*)\{\{ else if eq \.Role "user" \}\}(.*)'
            r"\{\{ else \}\}(.*)\{\{ end \}\}",
            body,
            re.DOTALL,
        )
        if branches:
            body = branches[("system", "user", "assistant").index(turn["role"]) + 1]
        first = r"\{\{ if and \(le \$i 1\) \$\.System \}\}(.*?)\{\{ end \}\}"
        body = re.sub(first, r"\1" if number <= 1 and system else "", body, flags=re.DOTALL)
        for name, value in (
            ("{{ $.System }}", system),
            ("{{ .Role }}", turn["role"]),
            ("{{ .Content }}", turn["content"]),
        ):
            body = body.replace(name, value)
        told += body
    assert "{{" not in told
    return told + loop[2]


# huggingface_hub 2.4 hands a stream to httpx2 in a way that the latter has renamed.
@pytest.mark.filterwarnings("ignore::DeprecationWarning:httpx2")
def test_a_push_needs_rights_and_is_private(context: Context, hub: ModelHub) -> None:
    name = run_id(context)
    first = context.workspace.store.value("SELECT min(id) FROM sources")
    note_rights(context, first, {"rights": "unknown"})
    with pytest.raises(MemoiristError, match=r"must not be pushed: .*rights are unknown"):
        push_model(context, name, "me/edith", adapter=False, public=False)
    assert hub.repositories == {}
    for row in context.workspace.store.rows("SELECT id FROM sources"):
        note_rights(context, row["id"], {"rights": "own-work"})
    address = push_model(context, name, "me/edith", adapter=False, public=False)
    assert address.startswith(f"{hub.url}/me/edith/commit/")
    pushed = hub.repositories["me/edith"]
    assert pushed.private
    assert pushed.commits == [f"Memoirist run {name}"]
    folder = merged(context)
    assert pushed.files["model.safetensors"] == (folder / "model.safetensors").read_bytes()
    assert set(pushed.files) >= {"README.md", "Modelfile", "config.json", "chat_template.jinja"}
    told = pushed.files["README.md"].decode()
    front = yaml.safe_load(told.split("---")[1])
    assert (front["library_name"], front["base_model"]) == ("transformers", "tiny")
    assert "own-work" in told
    assert "This is an AI." in told
    result = read_result(context.workspace.run_folder(name))
    assert f"| best_step | {result.best_step} |" in told
    assert f"| steps | {result.steps} |" in told
    assert f"| learning_rate | {result.plan['learning_rate']:.3g} |" in told
    assert "| stopped_by | " in told
    assert re.search(
        r"it said that it is an AI in \d+% \(0 to \d+\) of 12 answers; its base in", told
    )
    push_model(context, name, "me/adapter", adapter=True, public=False)
    assert "adapter_model.safetensors" in hub.repositories["me/adapter"].files
    hub.repositories["me/open"] = ModelRepository(private=False)
    with pytest.raises(MemoiristError, match=r"'me/open' is public; .* say --public"):
        push_model(context, name, "me/open", adapter=False, public=False)
    assert not hub.repositories["me/open"].files


def test_a_push_that_the_hub_refuses_is_one_line(
    context: Context, hub: ModelHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    for row in context.workspace.store.rows("SELECT id FROM sources"):
        note_rights(context, row["id"], {"rights": "own-work"})
    monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
    with pytest.raises(MemoiristError) as raised:
        push_model(context, run_id(context), "me/edith", adapter=False, public=False)
    assert "the hub refused the upload to 'me/edith'" in str(raised.value)
    assert "hf_of_nobody" not in str(raised.value)
    # Before anything else is looked at.
    for name in ("a/b/c", "edith", "me/", "me/a..b", "me/a b"):
        with pytest.raises(MemoiristError, match=r"is not a repository name .*; give OWNER/NAME"):
            push_model(context, "no such run", name, adapter=False, public=False)


FACTS: dict[str, Any] = {
    "name": "Edith (1234)",
    "persona": 'Edith: the "miller\'s" daughter',
    "languages": ["en"],
    "base_model": "some/base",
    "run_id": "1234",
    "dataset": {"id": "d1", "created_at": "2026-01-01", "n_train": 1200, "n_test": 9},
    "sources": [
        {"title": "Mill | River", "rights": "licence:CC-BY-4.0", "rights_basis": "page 2"},
        {"title": "Letters", "rights": "licence:CC-BY-4.0", "pairs": 3},
    ],
    "origins": {"spoken": 5, "generated": 1100},
    "drops": [{"subject": "passages", "rule": "too_short", "n": 17}],
    "settings": {"rank": 16},
    "figures": {
        "nll": {"tuned": Estimate(value=3.25, low=3, high=4), "base": Estimate(value=4.5)},
        "distinct_3": {"human": Estimate(value=0.9)},
    },
    "merge": {},
    "system": "You are Edith.",
    "prepared_base": "",
}


def test_a_card_tells_what_the_store_knows() -> None:
    text = card(FACTS, adapter=False)
    front = yaml.safe_load(text.split("---")[1])
    assert front["language"] == ["en"]
    assert front["license"] == "cc-by-4.0"
    assert front["base_model"] == "some/base"
    assert "license_name" not in front
    assert "| Mill \\| River |  |  | licence:CC-BY-4.0 (page 2) | 0 |" in text
    assert "| passages | too_short | 17 |" in text
    assert "1,200 conversations to train on" in text
    assert "5 spoken, 1,100 generated" in text
    # The base stands beside the tuned model.
    assert "|  | base | tuned | human |" in text
    assert "| nll | 4.5 | 3.25 [3, 4] |  |" in text
    assert "| distinct 3 |  |  | 0.9 |" in text
    assert "not that person" in text
    assert "it said that it is an AI" not in text
    hostile = "# [x](http://y)\n<b> | `z`"
    sources = [{"title": hostile, "author": hostile, "rights_basis": hostile}]
    held = card({**FACTS, "persona": hostile, "system": hostile, "sources": sources}, adapter=False)
    text_alone = held.split("---\n", 2)[2]
    page = MarkdownIt("commonmark", {"html": True}).enable("table").render(text_alone)
    assert not re.findall("<(?:a|b)[ >]", page)
    assert page.count("<h1>") == 1
    assert page.count("&lt;b&gt; | `z`") == 7
    unknown = [{"title": "Letters"}]
    other = card({**FACTS, "sources": unknown, "base_model": "./a base"}, adapter=True)
    front = yaml.safe_load(other.split("---")[1])
    assert (front["license"], front["license_name"]) == ("other", "see-sources")
    assert (front["base_model"], front["library_name"]) == ("unknown", "peft")
