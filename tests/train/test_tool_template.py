"""Conversations with tools in the base's own chat template: calls are trained, results are not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from memoirist.data.schema.errors import TrainError
from memoirist.train.dataset.chat_template import end_of_turn
from memoirist.train.dataset.tokenize import TokenRow, preflight, read_rows, tokenize
from memoirist.train.model.prepared_base import TINY, assign_tokens, keep_native
from tests.train.test_native_template import GEMMA, trained_text

# In the manner of the published families, each with its own oddity: calls as an object in tags ...
HERMES = (
    "{% if tools %}{{ '<|im_start|>system\\n<tools>' }}{% for t in tools %}{{ t | tojson }}"
    "{% endfor %}{{ '</tools><|im_end|>\\n' }}{% endif %}"
    "{% for m in messages %}{% if m.role == 'tool' %}"
    "{% if loop.first or messages[loop.index0 - 1].role != 'tool' %}{{ '<|im_start|>user' }}"
    "{% endif %}{{ '\\n<tool_response>\\n' + m.content + '\\n</tool_response>' }}"
    "{% if loop.last or loop.nextitem.role != 'tool' %}{{ '<|im_end|>\\n' }}{% endif %}"
    "{% else %}{{ '<|im_start|>' + m.role + '\\n' + m.content }}{% for c in m.tool_calls or [] %}"
    "{% if m.content or not loop.first %}{{ '\\n' }}{% endif %}"
    "{{ '<tool_call>\\n{\"name\": ' + c.function.name | tojson + ', \"arguments\": ' +"
    " c.function.arguments | tojson + '}\\n</tool_call>' }}{% endfor %}"
    "{{ '<|im_end|>\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
# ... no words beside a call, which a token of its own opens, and ids of nine letters,
# a prompt before the last question where no answer follows it ...
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}"
    "{% if loop.first and tools %}{{ '[AVAILABLE_TOOLS] ' + tools | tojson +"
    " '[/AVAILABLE_TOOLS]' }}{% endif %}{{ '[INST] ' + ('Be good.\\n\\n' if loop.last else '') +"
    " m.content + ' [/INST]' }}{% elif m.tool_calls %}{{ '[TOOL_CALLS] [' }}"
    "{% for c in m.tool_calls %}"
    "{% if c.id | length != 9 %}{{ raise_exception('bad id') }}{% endif %}"
    "{{ c.function | tojson + (']' if loop.last else ', ') }}{% endfor %}{{ '</s>' }}"
    "{% elif m.role == 'tool' %}{{ '[TOOL_RESULTS] ' + m.content + '[/TOOL_RESULTS]' }}"
    "{% else %}{{ ' ' + m.content + '</s>' }}{% endif %}{% endfor %}"
)
# ... arguments as a text, the function's name beside its result.
DEEPSEEK = (
    "{% for t in tools or [] %}{{ t.function.name + ': ' + t.function.description }}{% endfor %}"
    "{% for m in messages %}{% if m.role == 'tool' %}"
    "{{ '<|out|>' + m.name + ' ' + m.content }}{% elif m.role == 'assistant' %}"
    "{{ '<|bot|>' + m.content }}{% for c in m.tool_calls or [] %}"
    "{{ '<|call|>' + c.function.name ~ ' ' ~ c.function.arguments }}{% endfor %}{{ '<|eos|>' }}"
    "{% else %}{{ '<|user|>' + m.content }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|bot|>' }}{% endif %}"
)
# ... and a call only where there is no content.
NULLS = DEEPSEEK.replace(
    "m.tool_calls or []", "((m.tool_calls or []) if m.content is not defined else [])"
).replace("m.content }}{% for c", "(m.content or '') }}{% for c")
FAMILIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "hermes": (HERMES, ("<|im_start|>", "<|im_end|>")),
    "mistral": (MISTRAL, ("[TOOL_CALLS]", "[TOOL_RESULTS]")),
    "deepseek": (DEEPSEEK, ("<|user|>", "<|bot|>", "<|call|>", "<|out|>", "<|eos|>")),
    "nulls": (NULLS, ("<|user|>", "<|bot|>", "<|call|>", "<|out|>", "<|eos|>")),
}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "Tell the weather.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]


def call(number: int, city: str) -> dict[str, Any]:
    function = {"name": "weather", "arguments": {"city": city}}
    return {"id": f"call{number:05d}", "type": "function", "function": function}


def result(number: int, text: str) -> dict[str, Any]:
    return {"role": "tool", "content": text, "tool_call_id": f"call{number:05d}"}


ASKED = {"role": "user", "content": "Which is warmer?"}
CALLS = {"role": "assistant", "content": "", "tool_calls": [call(1, "Rome"), call(2, "Köln")]}
TALK: list[dict[str, Any]] = [
    ASKED,
    CALLS,
    result(1, "30 degrees"),
    result(2, "12 degrees"),
    {"role": "assistant", "content": "Rome is."},
    {"role": "user", "content": "And now?"},
    {"role": "assistant", "content": "I look.", "tool_calls": [call(3, "Rome")]},
    result(3, "31 degrees"),
    {"role": "assistant", "content": "Still."},
]
TRAINED = {
    "hermes": [
        '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>\n'
        '<tool_call>\n{"name": "weather", "arguments": {"city": "Köln"}}\n</tool_call><|im_end|>',
        "Rome is.<|im_end|>",
        'I look.\n<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>'
        "<|im_end|>",
        "Still.<|im_end|>",
    ],
    "mistral": [
        '[TOOL_CALLS] [{"name": "weather", "arguments": {"city": "Rome"}}, '
        '{"name": "weather", "arguments": {"city": "Köln"}}]</s>',
        " Rome is.</s>",
        '[TOOL_CALLS] [{"name": "weather", "arguments": {"city": "Rome"}}]</s>',
        " Still.</s>",
    ],
    "deepseek": [
        '<|call|>weather {"city": "Rome"}<|call|>weather {"city": "Köln"}<|eos|>',
        "Rome is.<|eos|>",
        'I look.<|call|>weather {"city": "Rome"}<|eos|>',
        "Still.<|eos|>",
    ],
}
TRAINED["nulls"] = [each.removeprefix("I look.") for each in TRAINED["deepseek"]]


def native(template: str, special: tuple[str, ...] = ()) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    tokenizer.add_special_tokens(
        {"bos_token": "<s>", "eos_token": "</s>", "additional_special_tokens": list(special)}
    )
    tokenizer.chat_template = template
    keep_native(tokenizer, 4096)
    return tokenizer


def row_of(messages: list[dict[str, Any]], tokenizer: Any, length: int = 2000) -> TokenRow:
    row = tokenize(messages, tokenizer, length, TOOLS)
    assert row is not None
    return row


@pytest.mark.parametrize("family", FAMILIES)
def test_calls_and_answers_are_trained_and_results_are_not(family: str) -> None:
    tokenizer = native(*FAMILIES[family])
    row = row_of(TALK, tokenizer)
    assert trained_text(row, tokenizer) == "".join(TRAINED[family])
    text = tokenizer.decode(row.input_ids)
    assert "weather" in text[: text.index("Which is warmer?")]
    assert all(text.count(each) == 1 for each in ("30 degrees", "12 degrees", "31 degrees"))
    preflight({"a": row}, {}, end_of_turn(tokenizer), len(tokenizer))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_may_end_with_a_call_and_loses_its_oldest_exchange(family: str) -> None:
    tokenizer = native(*FAMILIES[family])
    row = row_of(TALK[:2], tokenizer)
    assert trained_text(row, tokenizer) == TRAINED[family][0]
    preflight({"a": row}, {}, end_of_turn(tokenizer), len(tokenizer))
    whole = row_of(TALK, tokenizer)
    short = row_of(TALK, tokenizer, len(whole.input_ids) - 1)
    assert short.shortened == 5
    assert trained_text(short, tokenizer) == "".join(TRAINED[family][2:])


def test_tools_alone_are_rendered() -> None:
    tokenizer = native(*FAMILIES["hermes"])
    row = row_of([ASKED, {"role": "assistant", "content": "Rome."}], tokenizer)
    assert trained_text(row, tokenizer) == "Rome.<|im_end|>"
    assert "Tell the weather." in tokenizer.decode(row.input_ids)


def test_arguments_and_results_cannot_forge_a_turn() -> None:
    tokenizer = native(*FAMILIES["hermes"])
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    turns = json.loads(json.dumps(TALK).replace("Rome", "<|im_end|>").replace("30", "<|im_end|>"))
    counts = [list(row_of(talk, tokenizer).input_ids).count(end) for talk in (TALK, turns)]
    assert counts[0] == counts[1]


def without(template: str, part: str) -> str:
    assert part in template
    return template.replace(part, "")


@pytest.mark.parametrize(
    "template",
    [
        GEMMA,
        without(HERMES, "{{ t | tojson }}"),
        without(HERMES, " + c.function.name | tojson"),
        without(HERMES, " + m.content + '\\n</tool_response>'"),
        HERMES.replace("c.function.arguments | tojson", "(c.function.arguments | string | tojson)"),
    ],
)
def test_a_template_without_tools_is_refused(template: str) -> None:
    special = ("<|im_start|>", "<|im_end|>", "<start_of_turn>", "<end_of_turn>")
    with pytest.raises(TrainError, match=r"has no place for tools.*tools = false under \[\[sour"):
        row_of(TALK, native(template, special))


def test_a_template_that_ends_no_call_is_refused() -> None:
    open_ended = HERMES.replace(
        "{{ '<|im_end|>\\n' }}{% endif %}{% endfor %}",
        "{{ '\\n' if m.tool_calls else '<|im_end|>\\n' }}{% endif %}{% endfor %}",
    )
    with pytest.raises(TrainError, match=r"cannot be told from the rest.*tools = false"):
        row_of(TALK, native(open_ended, FAMILIES["hermes"][1]))


def test_a_refusal_of_the_template_names_the_key_of_tools() -> None:
    one_call = HERMES.replace(
        "{% for m in messages %}",
        "{% for m in messages %}{% if (m.tool_calls or []) | length > 1 %}"
        "{{ raise_exception('single calls only') }}{% endif %}",
    )
    with pytest.raises(TrainError, match=r"single calls only\).*tools = false"):
        row_of(TALK, native(one_call, FAMILIES["hermes"][1]))


def test_chatml_has_no_place_for_tools(tmp_path: Path) -> None:
    plain = AutoTokenizer.from_pretrained(TINY)
    chatml = assign_tokens(plain, 4096, tmp_path / "scratch").tokenizer
    path = tmp_path / "conversations.jsonl"
    path.write_text(json.dumps({"id": "a", "split": "train", "messages": TALK, "tools": TOOLS}))
    with pytest.raises(TrainError, match=r"set train\.template = 'native', or tools = false"):
        read_rows(path, chatml, 128)
    corpus = read_rows(path, native(*FAMILIES["hermes"]), 2000)
    assert list(corpus.train) == ["a"]
