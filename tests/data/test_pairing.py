"""Gates, rejects, pairs, scores: each rule fires, and clean rows pass."""

from __future__ import annotations

import pytest

from memoirist.data.curation.pairing import CurateSettings, pair
from memoirist.data.curation.rules import check_questions
from memoirist.data.passages.quotation import quoted_share
from memoirist.data.schema.records import Question, content_id
from tests.support.curation import gated, judged
from tests.support.rows import pair as make_pair
from tests.support.rows import passage, prose

CURATE = CurateSettings.model_validate({})
_NAMES = " ".join(
    f"Abercrombie{chr(97 + n % 26)} Quartermain{chr(97 + n // 26)}" for n in range(60)
)

REAL = (
    "My father was fined six pounds, with costs, on a Tuesday in March, for selling sugar"
    " lighter than he said it was. I had a cough that week of the kind that frightens teachers,"
    " and since my mother had to be in court and my aunt would not have me near her baby, I"
    " went as well. I sat on a bench at the back with a bag of barley sugar from our own shop."
    " I have sometimes wondered whether that bag was full weight. It did not cross my mind."
)
DATED = " I was born in 1939, and he died on 12/10/1967, at 4.15, aged 67 (1900-1967)."
JUNK = [
    ("", "empty"),
    ("The CHAPTER of it 12 " + "Preface ........ 3 Introduction ........ 17 " * 20, "few_letters"),
    ("He was the man of the house. " * 30, "repetition"),
    (_NAMES + ".", "few_stop_words"),
    ("Le général est allé avec les hommes dans la nuit vers la rivière. " * 12, "language"),
    ("“" + REAL + "”", "quoted"),
    (REAL + DATED, "digits"),
]


@pytest.mark.parametrize(("text", "rule"), JUNK)
def test_junk_is_dropped_by_its_rule(text: str, rule: str) -> None:
    verdicts = gated([passage(0, text)], "book", "en")
    assert [v.rule for v in verdicts if not v.keep] == [rule]
    assert all(v.reason and v.next_step for v in verdicts)


def test_real_prose_passes_and_nothing_gives_nothing() -> None:
    mixed = passage(0, REAL)
    assert [v for v in gated([mixed], "book", "en") if not v.keep] == []
    assert gated([], "book", "en") == []


def test_control_tokens_are_flagged_not_lost() -> None:
    verdicts = gated([passage(0, "I wrote <|im_end|> in it.")], "dataset", "en")
    assert [(v.rule, v.keep) for v in verdicts] == [("flag_control", True)]


def test_quoted_share_knows_the_styles() -> None:
    assert quoted_share("“All of it.”") == 1.0
    assert quoted_share("‘All of it,’ he said.") > 0.4
    assert quoted_share("It's John's dog's bone, isn't it? Don't.") == 0.0
    # A speech of several paragraphs is closed only in its last one.
    assert quoted_share("“One thing.\n\n“Another thing.”") > 0.9


ANSWER = prose(3)


@pytest.mark.parametrize(
    ("question", "rule"),
    [
        ("Why?", "question_short"),
        ("What " + "and then what " * 25 + "happened?", "question_long"),
        ("Why? How? When? Where? And what for?", "question_marks"),
        ("What does the passage say about your father?", "question_refers"),
        ("Can you answer in the style of a sailor, please?", "question_style"),
        ("That was hard for you, was it not?", "question_dangling"),
        ("Your father and the mill by the water.", "question_form"),
        ("What did <|im_end|> mean to you?", "question_control"),
        ("Have you seen https://example.org lately?", "question_machine"),
        ("What happened when the river rose above the old mill?", "question_run"),
        (
            "Did river, mill, father, flour, loft, window, sacks and dark matter to you much?",
            "question_leak",
        ),
        ("你父亲当时在做什么呢？", "question_language"),
        (
            "Pouvez-vous nous dire ce que la mer et les bateaux étaient pour vous dans cette vie ?",
            "question_language",
        ),
    ],
)
def test_a_bad_question_is_rejected_by_its_rule(question: str, rule: str) -> None:
    (found,) = check_questions([(question, ANSWER)], "en", CURATE)
    assert found.rule == rule
    assert found.reason


@pytest.mark.parametrize(
    ("rule", "pieces"),
    [
        ("question_machine", "http://a|HTTPS://a|WWW.a.org|```|<B>|</b>|{{|}}|def f(|=>|x;"),
        ("question_style", "in THE STYLE of|in your voice of|in the tone of|in your manner of"),
        ("question_style", "Write Like|write as|style of|的文风|的文風|的风格|的風格"),
        ("question_refers", "THIS PASSAGE|the texts|your author|these chapters|that book"),
        ("question_refers", "this excerpt|the paragraph|your memoir|Mentioned Above"),
        ("question_refers", "as Described|as mentioned|as stated|这段|這段|本文|文中|作者|本章"),
        ("question_refers", "这本书|這本書|上文|上述|原文"),
    ],
)
def test_every_form_of_what_is_refused_is_seen(rule: str, pieces: str) -> None:
    asked = [(f"Why do you ask me {piece}", ANSWER) for piece in pieces.split("|")]
    for (question, _), found in zip(asked, check_questions(asked, "en", CURATE), strict=True):
        assert found.rule == rule, question


@pytest.mark.parametrize(
    "question",
    ["What was your father like in a flood?", "Tell me about the worst night of that year."],
)
def test_a_good_question_passes(question: str) -> None:
    (found,) = check_questions([(question, ANSWER)], "en", CURATE)
    assert found.rule is None
    assert found.quality >= CURATE.min_score


def _question(n: int, text: str, origin: str, p: int) -> Question:
    return Question(
        id=content_id("q", n),
        passage_id=passage(p).id,
        text=text,
        type="why",
        origin=origin,  # type: ignore[arg-type]
    )


def test_the_best_origin_is_paired_and_a_passage_without_a_question_waits() -> None:
    questions = [
        _question(0, "What is a template?", "template", 0),
        _question(1, "What is generated?", "generated", 0),
        _question(2, "What was really asked?", "spoken", 1),
    ]
    found = pair([passage(0), passage(1), passage(2)], questions)
    assert [p.question for p in found] == ["What is generated?", "What was really asked?"]
    assert found == pair([passage(0), passage(1), passage(2)], list(reversed(questions)))


def test_judging_drops_with_reasons_and_keeps_what_was_really_said() -> None:
    pairs = [
        make_pair(0, question="Right, was it?", answer=prose(0), origin="spoken"),
        make_pair(1, question="Right.", answer=prose(1), origin="generated"),
        make_pair(2, question="微调测试", answer="我学会了", origin="given"),
        make_pair(4, question="", answer=prose(4), origin="spoken"),
        make_pair(5, question="What <|im_end|> did you do?", answer=prose(5), origin="curated"),
    ]
    scores, verdicts = judged(pairs, min_score=0.1)
    assert scores.keys() == {p.id for p in pairs}
    assert {v.subject_id: v.rule for v in verdicts} == {
        pairs[1].id: "question_short",
        pairs[3].id: "question_empty",
    }
    assert judged([]) == ({}, [])
