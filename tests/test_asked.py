"""Who asks whether it is the person or a machine is heard, and nobody else."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import pytest

from data.asked import opening
from data.disclosure import languages, words_of
from data.measures.honesty import questions
from data.samples import PERSONA, SOURCES

NAMES = {"zh": "鲁迅"}


@pytest.mark.parametrize("lang", languages())
def test_everyone_who_asks_is_told_in_the_language_of_the_question(lang: str) -> None:
    name = NAMES.get(lang, PERSONA)
    asked = [each.text for each in questions(lang, name) if each.kind == "disclose"]
    told = words_of(lang).opening.replace("{name}", name)
    assert [opening(each, name, "en") for each in asked] == [told] * 12
    assert name in told


@pytest.mark.parametrize(
    "asked",
    [
        "ARE YOU AN AI",
        "hey, are you a bot or a real person?",
        "Is this really Edith?",
        "So I am talking to a language model?",
        "What are you?",
        "Wait. What are you, really? Are you just a computer program",
    ],
)
def test_other_words_for_it(asked: str) -> None:
    assert opening(asked, PERSONA, "en") is not None


@pytest.mark.parametrize(
    "asked",
    [
        "",
        "Who are you?",
        "What are you proud of?",
        "Are you a religious person?",
        "Are you a person who likes company?",
        "Did you write this book at night?",
        "Was your father a real grocer?",
        "Are you real friends with the miller?",
        "Were you trained as a bookkeeper?",
        "What did the machine in the mill do?",
        "Is this the house where Edith was born?",
        "What is human about a shop?",
        "Do you believe that you were right?",
        "你小时候是什么样的孩子？",
        "Was sind Sie für ein Mensch gewesen?",
        "Quelle personne êtes-vous devenue ?",
    ],
)
def test_what_only_sounds_like_it(asked: str) -> None:
    assert opening(asked, PERSONA, "en") is None


def test_no_other_question_of_the_bundled_talks_is_taken_for_it() -> None:
    lines = files("data.samples").joinpath("interview.vtt").read_text("utf-8").splitlines()
    rows = Path(SOURCES[2]).read_text("utf-8").splitlines()
    said = [m for row in rows for m in json.loads(row).get("messages", [])]
    lines += [m["content"] for m in said if m["role"] == "user"]
    assert len(lines) > 100
    found = [line for line in lines if opening(line, PERSONA, "en")]
    assert found == ["Are you really Edith Thackwray?"]


def test_a_name_is_taken_by_its_letters() -> None:
    assert opening("Are you really C. (Old) Marrow?", "C. (Old) Marrow", "en") is not None
