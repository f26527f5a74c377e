"""Replies as models really write them, and the choice among what they suggest."""

from __future__ import annotations

import json

import pytest

from data.nouns import Passage
from generators.brief import load_prompt, write_brief
from generators.choose import Openers, Wish, choose
from generators.replies import Reply, Suggestion, parse_reply

GOOD = {
    "is_answer": True,
    "confidence": 0.8,
    "questions": [{"type": "why", "text": "Why did you leave home so early?"}],
}
TEXT = json.dumps(GOOD)


@pytest.mark.parametrize(
    "reply",
    [
        TEXT,
        f"```json\n{TEXT}\n```",
        f"Sure! Here you are: {TEXT} I hope {{this}} helps.",
        f"<think>Is {{it}} an answer? {json.dumps({'questions': []})}</think>\n\n{TEXT}",
        f"thinking without an opening tag</think>{TEXT}",
        '{"draft": 1}\n' + TEXT,
        '{"question": "Why did you leave home so early?", "type": "why"}',
        '{"questions": ["Why did you leave home so early?"]}',
        '{"is_answer": true, "confidence": 8, "questions": [{"question": "Why did you leave home so early?", "type": "WHY"}]}',  # noqa: E501
        '1. "Why did you leave home so early?"',
    ],
)
def test_one_reply_in_many_dresses(reply: str) -> None:
    parsed = parse_reply(reply)
    assert isinstance(parsed, Reply)
    assert parsed.is_answer
    assert parsed.questions[0].text == "Why did you leave home so early?"
    assert 0 <= parsed.confidence <= 1


def test_no_answer_needs_no_question() -> None:
    parsed = parse_reply('{"is_answer": false, "confidence": 0.9, "questions": []}')
    assert isinstance(parsed, Reply)
    assert not parsed.is_answer


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        ("", "empty"),
        ("<think>I never come to an end", "empty"),
        ("I would rather not.", "no JSON object"),
        (TEXT[:40], "no JSON object"),
        ('{"is_answer": "perhaps", "questions": []}', "is_answer"),
        ('{"is_answer": true, "questions": []}', "questions is empty"),
        ('{"questions": [{"type": "why"}]}', "questions.0.text"),
        ('{"questions": 7}', "questions.0"),
        ('{"questions": [{"text": ""}]}', "questions.0.text"),
        ('{"confidence": -1, "questions": ["Why is that so?"]}', "confidence"),
        ("[" * 5000, "no JSON object"),
        ('{"questions":' * 3000, "no JSON object"),
    ],
)
def test_a_fault_is_told_in_one_line(reply: str, fault: str) -> None:
    told = parse_reply(reply)
    assert isinstance(told, str)
    assert fault in told
    assert "\n" not in told


def _wish(number: int = 0, lang: str = "en", persona: str = "Ada Quill") -> Wish:
    text = "We left the village before sunrise because the mill had burnt down. " * 5 + str(number)
    passage = Passage(
        id=f"p{number}", source_id="s", document_id="d", ord=0, group_id="g", text=text, n_words=60
    )
    prompt = load_prompt(lang, None)
    brief = write_brief(passage, persona, lang, prompt)
    return Wish(passage=passage, persona=persona, lang=lang, brief=brief)


def _reply(*texts: str) -> Reply:
    suggestions = tuple(Suggestion(type="why", text=text) for text in texts)
    return Reply(is_answer=True, confidence=1, questions=suggestions)


def test_the_directed_length_decides() -> None:
    texts = {
        1: "What made you go?",
        2: "What made you go away from everything that you knew at such a time?",
        3: "When you think back to that time, what made you go away from everything that you knew, "
        "and did anybody try to hold you back?",
    }
    for number in range(20):
        wish = _wish(number)
        chosen = choose(_reply(*texts.values()), wish, Openers())
        assert isinstance(chosen, Suggestion)
        assert chosen.text == texts[wish.brief.length_class]


def test_a_worn_opening_gives_way() -> None:
    openers = Openers()
    for _ in range(10):
        openers.add("What made you laugh?")
    chosen = choose(_reply("What made you go?", "Why did you go?"), _wish(), openers)
    assert isinstance(chosen, Suggestion)
    assert chosen.text == "Why did you go?"


@pytest.mark.parametrize(
    ("question", "rule"),
    [
        ("Why did we leave the village before sunrise because the mill burnt?", "question_run"),
        ("What does the author say about mills?", "question_refers"),
        ("What would Ada Quill say about mills?", "question_names"),
        ("What was the reason?", None),
        ("It was what?", "question_dangling"),
    ],
)
def test_what_no_question_may_do(question: str, rule: str | None) -> None:
    chosen = choose(_reply(question), _wish(), Openers())
    if rule is None:
        assert isinstance(chosen, Suggestion)
    else:
        assert chosen[0] == rule  # type: ignore[index]


def test_length_directions_are_mixed() -> None:
    classes = [_wish(number).brief.length_class for number in range(1000)]
    shares = [classes.count(kind) / 1000 for kind in (1, 2, 3)]
    assert shares == pytest.approx([0.3, 0.5, 0.2], abs=0.05)
