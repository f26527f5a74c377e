"""What the persona is asked in a talk, what only interrupts an answer, what is small talk."""

from __future__ import annotations

import csv
import re

import pytest

from memoirist.data.passages.borders import size
from memoirist.data.passages.settings import PassageSettings
from memoirist.data.schema.records import Block, Rows
from tests.benchmarks.spoken_pairs import EPISODES, LABELS, OFF, TUNING, word_hash
from tests.data.test_question_answer import ADA, ANSWER, STORY, asked, rule_of, split, talk

OPENING = ("Ben", "What did you hear down there in the morning?")
LAST = "And when the frost came we stood on the ice and broke it with poles from eight until noon."


def answers(rows: Rows) -> list[str]:
    return [passage.text for passage in rows.passages]


def rules(rows: Rows, blocks: list[Block]) -> list[str | None]:
    """Return the rule of each turn, None for one that a passage holds."""
    of = {verdict.subject_id: verdict.rule for verdict in rows.verdicts}
    return [of.get(block.id) for block in blocks]


@pytest.mark.parametrize(
    "aside",
    [
        "Of your own mill.",
        "Right there next to them, in the cold.",
        "What...?",
        "That is a thing I should have liked to hear myself.",
        "So you have told everybody who came to see you since that year, and,",
    ],
)
def test_an_answer_goes_on_over_an_aside(aside: str) -> None:
    blocks = talk(OPENING, (ADA, ANSWER), ("Ben", aside), (ADA, LAST), ("Ben", "Who else was up?"))
    rows = split(blocks)
    assert answers(rows) == [f"{ANSWER}\n\n{LAST}"]
    assert asked(rows) == [OPENING[1]]
    assert rules(rows, blocks) == ["question", None, "aside", None, "other_speaker"]
    (verdict,) = [v for v in rows.verdicts if v.rule == "aside"]
    assert "passages.min_comment_words, max_interruption_words" in str(verdict.next_step)
    (passage,) = rows.passages
    assert passage.block_ids == (blocks[1].id, blocks[3].id)
    assert (passage.start_seconds, passage.end_seconds) == (10.0, 40.0)


@pytest.mark.parametrize(
    "turn",
    [
        "And who was the first?",
        "Let's talk about the frost.",
        "But tell us about the frost.",
        "Dann erzählen Sie mal vom Frost.",
        "Racontez-nous l'hiver au moulin.",
        "那请你讲讲冬天的事。",
        "They say that the weir was built for the other mill, and that yours came later.",
    ],
)
def test_a_turn_that_asks_invites_or_tells_something_is_a_question(turn: str) -> None:
    rows = split(talk(OPENING, (ADA, ANSWER), ("Ben", turn), (ADA, LAST + " " + ANSWER)))
    assert asked(rows) == [OPENING[1], turn]
    assert [passage.ord for passage in rows.passages] == [0, 1]
    assert len({passage.thread_id for passage in rows.passages}) == 1


def test_the_limits_are_settings() -> None:
    blocks = talk(OPENING, (ADA, STORY), ("Ben", "You never said."), (ADA, STORY + " " + LAST))
    assert len(split(blocks).passages) == 1
    settings = PassageSettings(min_comment_words=3)
    assert asked(split(blocks, settings)) == [OPENING[1], "You never said."]
    assert asked(split(blocks, OFF)) == [OPENING[1], "You never said."]


def test_a_question_reaches_the_answer_beyond_a_word_and_an_aside() -> None:
    blocks = talk(OPENING, (ADA, "The wheel, it."), ("Ben", "Yes, it is."), (ADA, ANSWER))
    rows = split(blocks)
    assert answers(rows) == [f"The wheel, it.\n\n{ANSWER}"]
    assert asked(rows) == [OPENING[1]]


def test_a_word_to_an_aside_is_left_out() -> None:
    blocks = talk(
        OPENING,
        (ADA, ANSWER),
        ("Ben", "In the cold, too."),
        (ADA, "It was cold."),
        ("Ben", "I can imagine that."),
        (ADA, LAST),
    )
    rows = split(blocks)
    assert answers(rows) == [f"{ANSWER}\n\n{LAST}"]
    assert rules(rows, blocks)[2:5] == ["aside", "short_answer", "aside"]


def test_an_interrupted_sentence_goes_on_in_its_paragraph() -> None:
    blocks = talk(
        OPENING,
        (ADA, "It was the water that we heard and then"),
        ("Ben", "the wheel"),
        (ADA, "the great wheel, as it began to turn in the morning. " + ANSWER),
        *[("Ben", "What came after that?"), (ADA, STORY)] * 3,
    )
    rows = split(blocks)
    start = "It was the water that we heard and then the great wheel, as it began to turn in"
    assert answers(rows)[0].startswith(start)
    assert len(rows.passages) == 4


def test_an_answer_grown_too_long_is_parted_where_a_turn_ends() -> None:
    long = " ".join(f"In the year {n} we built a boat of oak and of iron." for n in range(18))
    turns = [(ADA, long), ("Ben", "You did, all of them.")] * 4
    rows = split(talk(OPENING, *turns))
    assert [size(text) <= 500 for text in answers(rows)] == [True] * len(rows.passages)
    assert all(re.match("In the year 0 ", text) for text in answers(rows))
    assert len(rows.questions) == 1
    assert [passage.ord for passage in rows.passages] == list(range(len(rows.passages)))


def test_a_talk_that_marks_no_questions_has_no_asides() -> None:
    blocks = talk(("Ben", "what did you hear"), (ADA, STORY), ("Ben", "who told you"), (ADA, STORY))
    assert asked(split(blocks)) == ["what did you hear", "who told you"]


def test_a_question_is_not_sought_beyond_others_words() -> None:
    blocks = talk(
        ("Ben", "Where did you work?"),
        ("Cy", "Good one, Ben."),
        (ADA, STORY),
        ("Ben", "Full days, or half days only?"),
        ("Dee", "We did half a day, and in the summer we did none at all, as you know."),
        ("Cy", "I never."),
        (ADA, STORY),
        ("Ben", "Did you ever sell the mill, Dee?"),
        ("Dee", "I never did, and I never will."),
        ("Cy", "Dee would not, we are told."),
        ("Ben", "Ada?"),
        (ADA, STORY),
    )
    rows = split(blocks)
    assert asked(rows) == ["Where did you work?", blocks[4].text]
    assert len(rows.passages) == 3
    assert rule_of(rows, blocks[3]) == "other_speaker"


def test_a_short_turn_that_names_the_persona_is_a_prompt() -> None:
    turns = [("Cy", "It was the frost that broke the weir, I was told, and not the boys.")]
    turns += [("Ben", "Now Ada's mill, then."), (ADA, STORY)]
    blocks = talk(OPENING, (ADA, STORY), *turns)
    assert asked(split(blocks)) == [OPENING[1], "Now Ada's mill, then."]


@pytest.mark.parametrize(
    ("turn", "answer", "rule"),
    [
        ("That's pretty much it, so let's say goodbye, guys.", "Goodbye! Thanks for having me. I "
         "am glad that you do this show on mills and boats.", "courtesy"),
        ("Thanks very much for joining me. And where can the listeners find you?", "So me, I am "
         "in the yard on most days of the week, by the gate or behind it.", "courtesy"),
        ("Wie geht es Ihnen?", "Es geht mir sehr gut an diesem Morgen, ich freue mich auf das, was "
         "Sie mich heute fragen.", "courtesy"),
        ("We talked for two hours now, and the light is going, so I will let you work.", "You will "
         "have to come back in the summer when there is more of it all.", "short_reply"),
        ("We talked for two hours now, and the light is going, so I will let you work.", "In May "
         "there were three boats on the slip at once, and my father walked around all three of "
         "them with his pipe.", "not_taken_up"),
        ("Did you ever hear of anybody who had built one of these alone?", "Do they first come to "
         "you, then, and you find them somebody in the yard, or do they go there by themselves?",
         "asks_back"),
    ],
)  # fmt: skip
def test_small_talk_is_dropped(turn: str, answer: str, rule: str) -> None:
    blocks = talk(OPENING, (ADA, STORY), ("Ben", turn), (ADA, answer), *[OPENING, (ADA, STORY)] * 2)
    rows = split(blocks)
    assert answers(rows) == [STORY] * 3
    assert rules(rows, blocks)[2:4] == ["other_speaker", rule]
    kept = split(blocks, OFF)
    assert answers(kept)[1] == answer
    assert {passage.thread_id for passage in rows.passages} == {rows.passages[0].thread_id}


@pytest.mark.parametrize(
    ("turn", "answer"),
    [
        ("How are you feeling now that the mill is sold?", "I am well. The wheel has stopped and I "
         "can hear my own clock for the first time in my life."),
        ("What was the first boat?", "Thanks to my father it was no boat at all. He gave me a door "
         "and a rope, and I stayed afloat for a year."),
        ("So now nobody in the whole valley is bound to the weir, and before that everybody was.",
         "In my days they were. The weir was written into the deed of each house that stood along "
         "the river."),
    ],
)  # fmt: skip
def test_a_short_answer_to_the_point_stays(turn: str, answer: str) -> None:
    rows = split(talk(OPENING, (ADA, STORY), ("Ben", turn), (ADA, answer)))
    assert answers(rows) == [STORY, answer]


def test_everything_may_be_dropped_and_everything_has_a_verdict() -> None:
    blocks = talk(
        ("Ben", "Welcome to the show."), (ADA, "Thank you for having me here."), ("Ben", "Bye!")
    )
    rows = split(blocks)
    assert rows.passages == []
    assert rules(rows, blocks) == ["other_speaker", "short_answer", "other_speaker"]
    assert split([]) == Rows(passages=[], questions=[], verdicts=[])
    assert split(blocks) == rows


def test_chinese_asides_are_measured_by_characters() -> None:
    story = "我小时候住在河边的一个村子里，父亲每天清早就出门去种地，我跟着他走到磨坊。" * 2
    blocks = talk(("王", "你小时候住在哪里？"), (ADA, story), ("王", "那真的很远。"), (ADA, story))
    rows = split(blocks)
    assert answers(rows) == [f"{story}\n\n{story}"]
    assert rule_of(rows, blocks[2]) == "aside"


def test_the_labels_are_hashes_of_known_episodes() -> None:
    with LABELS.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t"))
    assert len(rows) == 200
    assert {row["episode"] for row in rows} == EPISODES.keys()
    assert {row["label"] for row in rows} == {"keep", "join", "drop"}
    assert all(re.fullmatch("[0-9a-f]{16}", row["answer_hash"]) for row in rows)
    assert 0 < len(TUNING) < len(EPISODES)
    assert word_hash("Why not?") == word_hash("why  NOT")
