"""The answer as it is streamed: whole characters, a seed, an end, and a history that fits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from memoirist.train.dataset.tokenize import prompt_ids
from memoirist.train.inference.batch_inference import greedy
from memoirist.train.inference.chat_model import ChatModel, _is_circular, load
from memoirist.train.model.prepared_base import prepare_base
from memoirist.train.settings import ChatSettings

# isort: split


ASK = [{"role": "user", "content": "Tell me about the mill."}]
GREEDY = ChatSettings(temperature=0, max_repeats=None, max_new_tokens=24)
CHINESE = "水磨坊👩‍👩‍👧很老é, 你好。"
SYSTEM = {"role": "system", "content": "You are Ann."}


@pytest.fixture(scope="module")
def talker(tmp_path_factory: pytest.TempPathFactory) -> ChatModel:
    return load(prepare_base("tiny", tmp_path_factory.mktemp("bases")).path)


def taught(folder: Path, words: str, *, ends: bool) -> ChatModel:
    """Return the tiny base, really trained to answer `words`, with or without an end."""
    talker = load(prepare_base("tiny", folder).path)
    tokenizer: Any = talker.tokenizer
    prompt = prompt_ids(ASK, tokenizer)
    ids = tokenizer(words, add_special_tokens=False)["input_ids"]
    row = torch.tensor([[*prompt, *ids, *([tokenizer.eos_token_id] if ends else [])]])
    labels = row.clone()
    labels[0, : len(prompt)] = -100
    optimizer = torch.optim.AdamW(talker.model.parameters(), lr=2e-3)
    talker.model.train()
    for _ in range(40):
        loss = talker.model(input_ids=row, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if loss.item() < 0.01:
            break
    talker.model.eval()
    return talker


@pytest.fixture(scope="module")
def speaker(tmp_path_factory: pytest.TempPathFactory) -> ChatModel:
    return taught(tmp_path_factory.mktemp("bases"), CHINESE, ends=True)


def test_pieces_are_whole_characters_and_make_up_the_answer(speaker: ChatModel) -> None:
    settings = ChatSettings()
    answer = speaker.answer(ASK, settings)
    pieces = list(answer)
    assert answer.ended == "end"
    *said, last = speaker._tokens(prompt_ids(ASK, speaker.tokenizer), settings)
    assert last in speaker.ends
    assert "".join(pieces) == speaker.tokenizer.decode(said) == CHINESE
    # Several tokens a character, and yet no half of one is ever shown.
    assert len(said) > len(pieces) > 5
    assert not any("\ufffd" in piece for piece in pieces)
    assert all(pieces)


def test_an_answer_that_ends_within_a_character_shows_no_half(speaker: ChatModel) -> None:
    for limit in range(1, 20):
        answer = speaker.answer(ASK, ChatSettings(max_new_tokens=limit))
        shown = "".join(answer)
        assert answer.ended == "limit"
        assert "\ufffd" not in shown
        assert CHINESE.startswith(shown)


def test_greedy_is_the_likeliest_token_every_time(talker: ChatModel) -> None:
    pieces = "".join(talker.answer(ASK, GREEDY))
    prompt = prompt_ids(ASK, talker.tokenizer)
    expected = greedy(talker.model, talker.tokenizer, [prompt], 24)[0]
    ids = list(talker._tokens(prompt, GREEDY))
    assert [token for token in expected if token not in talker.ends] == ids
    decoded = talker.tokenizer.decode(ids, skip_special_tokens=True)
    assert pieces == decoded.rstrip("\ufffd")


def test_the_seed_decides_the_draw(talker: ChatModel) -> None:
    def said(seed: int) -> str:
        settings = ChatSettings(seed=seed, temperature=1.5, top_p=1.0, max_new_tokens=16)
        return "".join(talker.answer(ASK, settings))

    assert said(1) == said(1)
    assert len({said(seed) for seed in range(4)}) == 4


def test_a_tiny_nucleus_leaves_the_likeliest_token(talker: ChatModel) -> None:
    prompt = prompt_ids(ASK, talker.tokenizer)
    narrow = ChatSettings(temperature=1.5, top_p=1e-6, max_new_tokens=12)
    assert list(talker._tokens(prompt, narrow)) == list(talker._tokens(prompt, GREEDY))[:12]


def test_a_repetition_penalty_says_fewer_tokens_twice(talker: ChatModel) -> None:
    prompt = prompt_ids(ASK, talker.tokenizer)
    free = ChatSettings(temperature=0, max_new_tokens=40)
    strict = free.model_copy(update={"repetition_penalty": 2.0})
    plain, varied = (list(talker._tokens(prompt, settings)) for settings in (free, strict))
    assert len(set(varied)) / len(varied) >= len(set(plain)) / len(plain)


@pytest.mark.parametrize(
    ("said", "ends"),
    [
        ([1, 2, 3] * 4, True),
        ([9, 9, 1, 2, 3, *[1, 2, 3] * 3], True),
        ([1, 2, 3] * 3 + [1, 2], False),
        (list(range(40)) * 4, True),
        ([7] * 15, False),
        ([7] * 16, True),
        ([7, 8] * 15, False),
        ([7, 8] * 16, True),
        ([7, 8, 7] * 4, True),
        ([], False),
        (list(range(200)), False),
    ],
)
def test_the_repetition_guard(said: list[int], ends: bool) -> None:
    assert _is_circular(said, 4) is ends
    assert _is_circular(said, None) is False


def test_a_model_that_goes_in_circles_is_ended(tmp_path: Path) -> None:
    line = " and so it was, and the mill was old"
    talker = taught(tmp_path, line * 8, ends=False)
    endless = ChatSettings(temperature=0, max_new_tokens=60, max_repeats=None)
    whole = "".join(talker.answer(ASK, endless))
    assert whole.count(line) >= 5
    guarded = endless.model_copy(update={"max_repeats": 3})
    answer = talker.answer(ASK, guarded)
    ended = "".join(answer)
    assert answer.ended == "circles"
    assert whole.startswith(ended)
    assert ended.count(line) == 3


def history(exchanges: int, words: str = "and the river rose above the old mill " * 6) -> Any:
    turns = []
    for n in range(exchanges):
        turns.append({"role": "user", "content": f"question {n} {words}"})
        turns.append({"role": "assistant", "content": f"answer {n} {words}"})
    return [SYSTEM, *turns, {"role": "user", "content": "The last question?"}]


def test_a_long_history_loses_its_oldest_exchanges_and_never_the_system(talker: ChatModel) -> None:
    messages = history(40)
    settings = ChatSettings(max_new_tokens=100)
    ids = talker._prompt(messages, settings.max_new_tokens)
    assert len(ids) <= 2048 - 100
    kept = next(n for n in range(40) if prompt_ids(_without(messages, n), talker.tokenizer) == ids)
    assert kept > 0
    # One exchange more would not have fitted: no more is left out than must be.
    more = prompt_ids(_without(messages, kept - 1), talker.tokenizer)
    assert len(more) > 2048 - 100
    assert messages == history(40)
    short = history(2)
    assert talker._prompt(short, settings.max_new_tokens) == prompt_ids(short, talker.tokenizer)


def _without(messages: Any, exchanges: int) -> Any:
    return [messages[0], *messages[1 + 2 * exchanges :]]


@pytest.mark.parametrize("opening", [[SYSTEM], []])
def test_one_message_longer_than_the_context_loses_its_beginning(
    opening: Any, talker: ChatModel
) -> None:
    asked = {"role": "user", "content": "and the river rose " * 3000 + "THE END"}
    settings = ChatSettings(max_new_tokens=8)
    ids = talker._prompt([*opening, asked], settings.max_new_tokens)
    text = talker.tokenizer.decode(ids)
    assert 1900 < len(ids) <= 2048 - 8
    start = "<|im_start|>system\nYou are Ann.<|im_end|>" if opening else "<|im_start|>user\n"
    assert text.startswith(start)
    assert text.endswith("THE END<|im_end|>\n<|im_start|>assistant\n")
    assert isinstance("".join(talker.answer([*opening, asked], settings)), str)


def test_an_answer_stays_within_the_context(talker: ChatModel) -> None:
    prompt = prompt_ids(ASK, talker.tokenizer)
    talker.room, before = len(prompt) + 5, talker.room
    try:
        answer = talker.answer(ASK, GREEDY)
        assert answer.ended == "stopped"
        assert len(list(talker._tokens(prompt, GREEDY))) <= 5
        list(answer)
        assert answer.ended == "context"
    finally:
        talker.room = before


def test_a_missing_model_is_an_error_that_can_be_told(tmp_path: Path) -> None:
    with pytest.raises((OSError, ValueError)):
        load(tmp_path / "none")
