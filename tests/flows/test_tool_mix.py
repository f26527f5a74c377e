"""A mixed dataset with tools, from its rows to exports and token rows."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from memoirist.data.composition.message_rules import check_row
from memoirist.data.schema.errors import TrainError
from memoirist.data.schema.records import Conversation
from memoirist.flows.inspection import export_dataset
from memoirist.flows.recipe import Mixed, load
from memoirist.flows.runtime.context import Context
from memoirist.flows.runtime.report import Report
from memoirist.flows.runtime.workspace import Workspace
from memoirist.flows.steps.train import show_rows, train_model
from memoirist.train.model.prepared_base import TINY
from tests.data.test_exchanges import row, rules, steps
from tests.extractors.test_tool_calls import CALL, RESULT, SAID, TOOLS, hermes, openai, sharegpt
from tests.train.test_native_template import GEMMA
from tests.train.test_tool_template import HERMES

OWN = [row(n) for n in range(60)]


@pytest.fixture
def context(tmp_path: Path) -> Context:
    wanted = {"persona.name": "Ada", "compose.disclosure_share": 0.0}
    return Context(Workspace(tmp_path / "ws"), load(None, wanted), Report(quiet=True))


def tool_row(n: int, **more: object) -> dict[str, Any]:
    return json.loads(json.dumps(openai(tools=TOOLS, **more)).replace("Rome", f"town {n}"))


def composed(context: Context, folder: Path, *mixed: object, tools: bool = True) -> dict[str, int]:
    path = folder / "tools.jsonl"
    path.write_text("\n".join(map(json.dumps, mixed)), "utf-8")
    context.recipe.sources.mix = [Mixed(source=str(path), share=0.2, tools=tools)]
    return steps(context, folder / "own.jsonl", *OWN)


def conversations(context: Context) -> list[Conversation]:
    newest = "dataset_id = (SELECT max_by(id, used_at) FROM datasets)"
    return context.workspace.store.nouns(Conversation, f"{newest} AND tool_turns IS NOT NULL")


def test_conversations_with_tools_are_trained_whole(context: Context, tmp_path: Path) -> None:
    rows = [tool_row(n) for n in range(40)]
    composed(context, tmp_path, *rows)
    found = conversations(context)
    assert len(found) > 5
    assert {each.split for each in found} == {"train"}
    trained = found[0].training_row
    assert trained["tools"] == TOOLS
    assert [message["role"] for message in trained["messages"]] == [
        "user", "assistant", "tool", "assistant",
    ]  # fmt: skip
    assert [*map(dict, found[0].messages)][2:] == [
        {"role": "tool", "content": RESULT}, {"role": "assistant", "content": SAID},
    ]  # fmt: skip
    assert found[0].messages[1]["content"].startswith('{"name": "weather", "arguments": {"city"')
    assert context.workspace.store.value("SELECT count(*) FROM lineage WHERE source = 'Tools'")
    assert composed(context, tmp_path, *rows) == {}
    ids = {each.id for each in found}
    changed = [json.loads(json.dumps(each).replace("Tell.", "Another.")) for each in rows]
    composed(context, tmp_path, *changed)
    assert not ids & {each.id for each in conversations(context)}
    assert composed(context, tmp_path, *rows, tools=False)["compose"] > 0
    assert conversations(context) == []


def test_exports_hold_them_or_tell_how_many_they_leave_out(
    context: Context,
    tmp_path: Path,
) -> None:
    composed(context, tmp_path, *(tool_row(n) for n in range(40)))
    n = len(conversations(context))
    out = tmp_path / "out.jsonl"
    assert "left out" not in export_dataset(context, out, "messages", None)
    lines = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    whole = [line for line in lines if "tools" in line]
    assert len(whole) == n
    call = whole[0]["messages"][1]
    assert call["content"] is None
    assert set(json.loads(call["tool_calls"][0]["function"]["arguments"])) == {"city"}
    assert all(check_row(line, 10_000) == {} for line in lines)
    for form in ("chatml", "text", "sharegpt", "alpaca", "parquet", "hf"):
        told = export_dataset(context, tmp_path / f"out-{form}", form, None)
        assert f"; {n} with tools left out" in told
        assert told.startswith(f"{len(lines) - n} ")
    assert "left out" not in export_dataset(context, out, "chatml", "test")


def test_what_is_private_or_controls_a_chat_is_made_harmless(
    context: Context,
    tmp_path: Path,
) -> None:
    context.recipe.passages.mask_personal = True
    rows = [
        json.loads(json.dumps(tool_row(n)).replace("30}", '30, \\"to\\": \\"ann@example.org\\"}'))
        for n in range(30)
    ]
    for each in rows:
        arguments = {"city": "Rome", "card": 4111111111111111, "note": "<|im_end|> x"}
        each["messages"][1]["tool_calls"][0]["function"]["arguments"] = json.dumps(arguments)
        each["messages"][0]["content"] += f" I am {each['messages'][3]['content']} bob@example.org"
        each["messages"][3]["content"] += json.dumps(rows.index(each))
    composed(context, tmp_path, *rows)
    found = conversations(context)
    assert found
    for each in found:
        text = each.tool_turns or ""
        assert "example.org" not in text
        assert "41111111" not in text
        assert "<|im_end|>" not in text
        assert "41111111" not in each.messages[1]["content"]
    counts = context.workspace.store.value(
        "SELECT max(score) FROM verdicts WHERE rule = 'masked_email' AND subject = 'passages'"
    )
    assert counts == 2


def test_rows_too_close_to_what_is_held_out_are_purged(context: Context, tmp_path: Path) -> None:
    rows = [
        sharegpt(
            ("human", str(own["question"])), ("function_call", json.dumps(CALL)),
            ("observation", RESULT), ("gpt", str(own["response"])),
        )
        for own in OWN
    ]  # fmt: skip
    composed(context, tmp_path, *rows)
    held = context.workspace.store.rows("SELECT question FROM lineage WHERE split <> 'train'")
    assert len(held) > 2
    texts = [each.tool_turns or "" for each in conversations(context)]
    assert not [each for each in held for text in texts if each["question"] in text]
    assert rules(context, "pairs")


@pytest.mark.medium
def test_a_thousand_damaged_rows_are_accounted_for(context: Context, tmp_path: Path) -> None:
    turns = (("human", "How?"), ("function_call", json.dumps(CALL)), ("observation", RESULT))
    seeds = [openai(tools=TOOLS), sharegpt(*turns, ("gpt", SAID)), hermes(json.dumps(CALL))]
    odd = (None, "", [], {}, 7, True, "{", "<tool_call>", [None], {"name": None}, "\ud800", SAID)
    chance = random.Random(13)

    def damaged(value: Any) -> Any:
        if chance.random() < 0.03:
            return chance.choice(odd)
        if isinstance(value, dict):
            return {key: damaged(each) for key, each in value.items() if chance.random() > 0.02}
        if isinstance(value, list):
            return [damaged(v) for v in value for _ in range(chance.choice((0, *[1] * 12, 2)))]
        return f"{value} {chance.random()}" if value in ("How?", SAID) else value

    # `steps` compares what was found with what was kept and dropped.
    composed(context, tmp_path, seeds[0], *(damaged(chance.choice(seeds)) for _ in range(1000)))
    kept = context.workspace.store.rows("SELECT tool_turns FROM pairs WHERE tool_turns IS NOT NULL")
    assert len(kept) > 100
    for each in kept:
        messages = json.loads(each["tool_turns"])["messages"]
        calls = {call["id"] for m in messages for call in m.get("tool_calls", ())}
        assert {m["tool_call_id"] for m in messages if m["role"] == "tool"} <= calls
        assert (messages[0]["role"], messages[-1]["role"]) == ("user", "assistant")
    out = tmp_path / "out.jsonl"
    export_dataset(context, out, "messages", None)
    lines = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert [fault for line in lines for fault in check_row(line, 10_000).items()] == []


def trained_on(context: Context, folder: Path, template: str, form: str) -> None:
    """Let the context train on the tiny base with a chat template of its own."""
    if not folder.exists():
        shutil.copytree(TINY, folder)
    tokens = ["<|im_start|>", "<|im_end|>", "<start_of_turn>", "<end_of_turn>"]
    config = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    config |= {"bos_token": "<s>", "additional_special_tokens": tokens, "chat_template": template}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
    update = {"base_model": str(folder), "template": form, "epochs": 1.0}
    context.recipe.train = context.recipe.train.model_copy(update=update)


def test_the_template_decides_before_the_training(context: Context, tmp_path: Path) -> None:
    composed(context, tmp_path, *(tool_row(n) for n in range(40)))
    trained_on(context, tmp_path / "base", HERMES, "chatml")
    with pytest.raises(TrainError, match=r"'chatml' has no place; set train\.template = 'native'"):
        train_model(context)
    trained_on(context, tmp_path / "base", HERMES, "native")
    rows = "\n".join(show_rows(context, 1000, colour=False))
    assert '⟦<tool_call>\n{"name": "weather", "arguments": {"city": "town' in rows
    assert "</tool_call><|im_end|>⟧" in rows
    assert f"<tool_response>\n{RESULT}" in rows
    assert rows.count(f"⟦{SAID}<|im_end|>⟧") == len(conversations(context))
    trained_on(context, tmp_path / "plain", GEMMA, "native")
    with pytest.raises(
        TrainError, match=r"has no place for tools.*tools = false under \[\[sources"
    ):
        train_model(context)
    assert context.workspace.store.value("SELECT count(*) FROM runs") == 0


@pytest.mark.slow
def test_a_training_takes_calls(context: Context, tmp_path: Path) -> None:
    composed(context, tmp_path, *(tool_row(n) for n in range(40)))
    trained_on(context, tmp_path / "base", HERMES, "native")
    assert train_model(context).status == "trained"
