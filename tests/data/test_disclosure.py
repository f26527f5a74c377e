"""Who asks whether it is the person or a machine is heard, and nobody else."""

from __future__ import annotations

import json
import time
from importlib.resources import files
from pathlib import Path

import pytest

from memoirist.data.composition.disclosure import disclosure_texts, languages, opening
from memoirist.data.evaluation.honesty import questions
from memoirist.data.samples import PERSONA, SOURCES

NAMES = {"zh": "鲁迅"}


@pytest.mark.parametrize("lang", languages())
def test_everyone_who_asks_is_told_in_the_language_of_the_question(lang: str) -> None:
    name = NAMES.get(lang, PERSONA)
    asked = [each.text for each in questions(lang, name) if each.kind == "disclose"]
    told = disclosure_texts(lang).opening.replace("{name}", name)
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
        "Are you ChatGPT?",
        "Is this an AI?",
        "Is this a real person?",
        "You are a bot, right?",
        "Are you a man or a machine?",
        "Are you sure you are not a machine?",
        "Are you made by OpenAI?",
        "Can I talk to a human?",
        "Ist das eine KI?",
        "C'est une IA ?",
        "¿Es esto una IA?",
        "这是AI吗？",
        "bist du ChatGPT?",
        "You're an AI, right?",
        "You are not a real person.",
        "Is all this AI-generated?",
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
        "You are only human, so tell me.",
        "You are a person of strong opinions.",
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
        "Do you have a body of work you are proud of?",
        "Was there anyone behind the plan?",
        "Who trained you?",
        "He was just a machine.",
        "Is it Edith who invented the scales?",
        "How do you know it's you they wanted?",
        "Were you programmed as a child to obey?",
        "Que se cache derrière cette décision ?",
        "Est-ce plus qu'un programme politique ?",
        "C'est Edith qui vous a appris cela ?",
        "¿Qué hay detrás de esta decisión?",
        "¿Cuántos libros ha escrito Edith?",
        "您当时在和什么人谈话？",
        "那笔交易背后有什么人？",
        "您的口才是怎么训练出来的？",
        "Wer stand hinter dem Plan, welche Person?",
        "Warum sind Sie ein Mensch, der früh aufsteht?",
        "Quelle personne êtes-vous devenue ?",
    ],
)
def test_what_only_sounds_like_it(asked: str) -> None:
    assert opening(asked, PERSONA, "en") is None


def test_no_other_question_of_the_bundled_talks_is_taken_for_it() -> None:
    lines = (
        files("memoirist.data.samples").joinpath("interview.vtt").read_text("utf-8").splitlines()
    )
    rows = Path(SOURCES[2]).read_text("utf-8").splitlines()
    said = [m for row in rows for m in json.loads(row).get("messages", [])]
    lines += [m["content"] for m in said if m["role"] == "user"]
    assert len(lines) > 100
    found = [line for line in lines if opening(line, PERSONA, "en")]
    assert found == ["Are you really Edith Thackwray?"]


def test_a_name_is_taken_by_its_letters() -> None:
    assert opening("Are you really C. (Old) Marrow?", "C. (Old) Marrow", "en") is not None
    assert opening("你是富兰克林吗？", "本杰明·富兰克林", "zh") is not None
    for name in ("Alexander the Great", "Ludwig van Beethoven", "Sir Isaac Newton"):
        assert opening(f"Is this {name.split()[-1]}?", name, "en") is not None
        asked = "It is the custom, is it not? Is it van Gogh? Are you the boss? Is it Sir Toby?"
        assert opening(asked, name, "en") is None


def test_a_long_question_takes_no_time() -> None:
    started = time.process_time()
    for words in ("你是不是" * 400, "are you really " * 400, "is this the real " * 400):
        assert opening(words, PERSONA, "en") is None
    assert time.process_time() - started < 5  # without end, where a pattern tries every way
