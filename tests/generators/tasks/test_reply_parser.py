"""Replies as models really write them, and the choice among what they suggest."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Sequence

import pytest

from memoirist.data.curation.pairing import CurateSettings
from memoirist.data.schema.records import Candidate, Passage, Request
from memoirist.generators.prompts.prompt_templates import FilledPrompt, fill_prompt, load_prompt
from memoirist.generators.tasks.candidates import Query, ReplyScorer
from memoirist.generators.tasks.reply_parser import Reply, Suggestion, parse_reply

GOOD = {
    "is_answer": True,
    "confidence": 0.8,
    "questions": [{"type": "why", "text": "Why did you leave home so early?"}],
}
TEXT = json.dumps(GOOD)
REQUEST = Request(id="r", purpose="interview", model="m", status="ok", attempts=1)


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
        "**1.** **Why did you leave home so early?**",
        "Here are three questions:\n\n1. (why) Why did you leave home so early?\n2) How was it?",
        "- why: Why did you leave home so early?\n- how: How was it?\n\nGood luck!",
        "Why did you leave home so early?\nHow was it?",
        "<think>Which? 1. Where were you?\n2. hm</think>Q1: Why did you leave home so early?",
        f"<think>I never close this. Drafts: {{'questions': []}} but then\n{TEXT}\n",
        f"{TEXT}<|im_end|>\n<|im_start|>user\n{json.dumps({'questions': ['Why me?']})}",
        f"<|channel|>analysis<|message|>Hm {{}}<|end|><|start|>assistant<|channel|>final<|message|>"
        f"{TEXT}<|return|>",
        f"[THINK]Hm.[/THINK]{TEXT}</s>",
        f"◁think▷Hm.◁/think▷{TEXT}",
        "{'is_answer': True, 'confidence': .8, 'questions': [{'type': 'why', 'text': 'Why did you"
        " leave home so early?',},],}",
        '{is_answer: true, confidence: "80%", questions: [{type: "why", text: "Why did you leave'
        ' home so early?"}]} // done',
        '{"is_answer": true, "questions": [{"type": "why", "text": "Why did you leave home so'
        ' early?"}',
        "{“is_answer”: true, “questions”: [“Why did you leave home so early?”]}",
        json.dumps({"response": {"result": GOOD}}),
        json.dumps(GOOD["questions"]),
        '{"questions": {"why": "Why did you leave home so early?", "how": "How was it?"}}',
        '{"questions": "1. Why did you leave home so early?\\n2. How was it?"}',
        '{"confidence": "high", "questions": ["why: Why did you leave home so early?"]}',
        json.dumps({"questions": ["Why did you leave home so early?"] * 20}),
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


def test_quotes_within_a_string_and_types_are_read() -> None:
    parsed = parse_reply(
        """{'questions': [{'type': 'how', 'text': 'How didn't you see it, "Ada"?'},
            "opinion: What's an "honest" weight?",
            {'type': 'Follow_Up', 'question': 'And then?'}]}"""
    )
    assert isinstance(parsed, Reply)
    assert [(one.type, one.text) for one in parsed.questions] == [
        ("how", 'How didn\'t you see it, "Ada"?'),
        ("opinion", 'What\'s an "honest" weight?'),
        ("follow-up", "And then?"),
    ]


def test_a_plain_no_is_understood() -> None:
    parsed = parse_reply("is_answer: false, as this is a table of contents.")
    assert isinstance(parsed, Reply)
    assert not parsed.is_answer


@pytest.mark.parametrize(
    "reply",
    [
        "1. Why did you go?\n2. The passage says that the mill burnt down.",
        "First I look at the passage. What is it about? A mill. So I could ask about the mill.",
        "<think>1. Why did you go?",
        "Why did you go? I do not know. Why did you stay?\nBecause it rained.",
    ],
)
def test_what_is_ambiguous_is_asked_again(reply: str) -> None:
    assert isinstance(parse_reply(reply), str)


_DRESSES = [
    TEXT,
    f"<think>{TEXT}</think>{TEXT}<|im_end|>",
    "1. Why?\n2. How, then?",
    "{'questions': ['What\\'s that?', \"it's\"]}",
    '{"questions": {"why": "\\ud800 why?"}, "is_answer": "no"}',
    "<|channel|>analysis<|message|>x<|channel|>final<|message|>{}",
]
_SHARDS = [
    *"{}[]\"'“”‘’:,\\/#*<>|\n\t \0",
    "\ud800", "\\u", "\\ud83d", "<think>", "</think>", "```", "null", "NaN", "1e999", "9" * 5000,
    "questions", "is_answer", "//", "/*", "？", "\u202e", "🙂", "[INST]", "{" * 300, "[" * 300,
]  # fmt: skip


def test_no_text_crashes_or_hangs_the_reading() -> None:
    seed = random.Random(7)
    for _ in range(4000):
        text = seed.choice(_DRESSES)
        for _ in range(seed.randint(0, 6)):
            place, width = seed.randrange(len(text) + 1), seed.choice((0, 0, 1, 3, 20))
            text = text[:place] + seed.choice(_SHARDS) + text[place + width :]
        parsed = parse_reply(text)
        told = parsed if isinstance(parsed, str) else "".join(q.text for q in parsed.questions)
        told.encode("utf-8")  # nothing that the store could not write
        assert not isinstance(parsed, str) or "\n" not in parsed


@pytest.mark.parametrize(
    "unit",
    ["{", "[", '{"questions":', '{"a":[', "{'a': '", "<think>", "{'a\\'", '"', "\\", "1. ", "- ",
     "why: ", "/*", "{a:b,", "{\"is_answer\"", " ", "\n", "{'a':1}", "(why) ", "**", "“", "#",
     "</s>", "<|channel|>final ", "<|channel|>analysis"],
)  # fmt: skip
def test_a_long_reply_of_one_thing_is_read_in_time(unit: str) -> None:
    started = time.process_time()
    for text in (unit * (200_000 // len(unit)), "{" + unit * (200_000 // len(unit)) + "}"):
        parse_reply(text)
    assert time.process_time() - started < 4


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


def _query(
    number: int = 0, lang: str = "en", persona: str = "Ada Quill"
) -> tuple[Query, FilledPrompt]:
    text = "We left the village before sunrise because the mill had burnt down. " * 5 + str(number)
    passage = Passage(
        id=f"p{number}", source_id="s", document_id="d", ord=0, group_id="g", text=text, n_words=60
    )
    prompt = load_prompt(lang, None)
    query = Query(passage=passage, key="key", passage_hash="h", lang=lang, prompt=prompt)
    return query, fill_prompt(passage, persona, lang, prompt)


def _reply(*texts: str) -> Reply:
    suggestions = tuple(Suggestion(type="why", text=text) for text in texts)
    return Reply(is_answer=True, confidence=1, questions=suggestions)


def _judged(query: tuple[Query, FilledPrompt], *texts: str) -> Sequence[Candidate]:
    scorer = ReplyScorer("Ada Quill", CurateSettings.model_validate({}))
    ((_, scored),) = scorer.score([(REQUEST, _reply(*texts), *query)])
    return scored


def test_the_directed_length_decides() -> None:
    texts = {
        1: "What made you go?",
        2: "What made you go away from everything that you knew at such a time?",
        3: "When you think back to that time, what made you go away from everything that you knew, "
        "and did anybody try to hold you back?",
    }
    for number in range(20):
        query = _query(number)
        best = max(_judged(query, *texts.values()), key=lambda each: each.score)
        assert best.text == texts[query[1].length_class]


@pytest.mark.parametrize(
    ("question", "rule"),
    [
        ("Why did we leave the village before sunrise because the mill burnt?", "question_run"),
        ("What does the author say about mills?", "question_refers"),
        ("What would Ada Quill say about mills?", "question_names"),
        ("What was the reason?", None),
        ("It was what?", "question_dangling"),
        ("Ask the way a curious person asks in conversation: why?", "question_prompt"),
    ],
)
def test_what_no_question_may_do(question: str, rule: str | None) -> None:
    (judged,) = _judged(_query(), question)
    assert judged.rule == rule
    assert (judged.reason is None) == (rule is None)


def test_length_directions_are_mixed() -> None:
    classes = [_query(number)[1].length_class for number in range(1000)]
    shares = [classes.count(kind) / 1000 for kind in (1, 2, 3)]
    assert shares == pytest.approx([0.3, 0.5, 0.2], abs=0.05)
