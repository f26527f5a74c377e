"""Who the persona is in a talk, what was asked, what was answered, and what is folded."""

from __future__ import annotations

import pytest

from memoirist.data.passages.borders import size
from memoirist.data.passages.settings import PassageSettings
from memoirist.data.schema.records import Block, Rows
from memoirist.data.text.words import ends_sentence
from memoirist.data.transcripts.question_answer import is_backchannel, split_answer, split_turns
from memoirist.data.transcripts.speakers import find_persona, mapping_of, renamed, speaker_shares
from tests.support.rows import NOW, block, document

SETTINGS = PassageSettings.model_validate({})
ADA = "Ada Marrow"
ANSWER = "I went down to the mill every morning before the others and I listened to the water."
# Long enough to stand without a question.
STORY = f"{ANSWER} My father had told me that a wheel tells you beforehand what it is going to do."


def talk(*turns: tuple[str | None, str]) -> list[Block]:
    return [
        block(n, text, "turn", speaker=speaker, start_seconds=n * 10.0, end_seconds=n * 10.0 + 10)
        for n, (speaker, text) in enumerate(turns)
    ]


def split(blocks: list[Block], settings: PassageSettings = SETTINGS) -> Rows:
    rows = split_turns(document(), blocks, ADA, settings, NOW)
    used = {each for passage in rows.passages for each in passage.block_ids}
    judged = {v.subject_id for v in rows.verdicts if not v.keep}
    assert used | judged == {b.id for b in blocks}
    assert not used & judged
    return rows


def asked(rows: Rows) -> list[str]:
    return [question.text for question in rows.questions]


def rule_of(rows: Rows, b: Block) -> str:
    return next(v.rule for v in rows.verdicts if v.subject_id == b.id)


@pytest.mark.parametrize(
    "label",
    [
        "ada marrow",
        "ADA MARROW",
        "Marrow, Ada",
        "Dr. Ada Marrow",
        "Ada Marrow, PhD",
        "Prof. Ada Márrow",
        "Rook (Ada Marrow)",
        "Ada Marrow (Yard)",
        "Ada Marrow | ACME",
        "adamarrow",
        "Ada",
        "A. Marrow",
        "Ada M.",
    ],
)
def test_names_that_are_the_persona(label: str) -> None:
    assert find_persona(talk(("Ben", "Who?"), (label, ANSWER)), [ADA]) == label


@pytest.mark.parametrize(
    "labels",
    [
        ("SPEAKER_00", "SPEAKER_01"),
        ("Speaker A", "Speaker M"),
        ("Ada Lovelace", "Ben"),
        ("A", "M"),
        ("Ada", "A. Marrow"),  # two may be she: nobody knows
        ("Host", "Guest"),
        (None, None),
    ],
)
def test_labels_that_are_not(labels: tuple[str, str]) -> None:
    assert find_persona(talk((labels[0], "Who?"), (labels[1], ANSWER)), [ADA]) is None


def test_a_full_name_goes_before_a_part_of_it() -> None:
    blocks = talk(("Ada", "Who?"), ("Ada Marrow", ANSWER))
    assert find_persona(blocks, [ADA]) == "Ada Marrow"
    assert find_persona(talk(("SPEAKER_00", ANSWER)), [ADA, "SPEAKER_00"]) == "SPEAKER_00"
    assert find_persona(talk(("王老师", "你好")), ["王"]) == "王老师"


def test_labels_are_mapped_for_all_files_or_one() -> None:
    told = {"Guest": ADA, "ep-2.srt:Guest": "Cy", "*.vtt:(unnamed)": ADA}
    assert mapping_of(told, "/a/ep-1.srt")["guest"] == ADA
    assert mapping_of(told, "/a/ep-2.srt")["guest"] == "Cy"
    assert mapping_of(told, "/a/ep-3.vtt")["(unnamed)"] == ADA
    blocks = talk(("GUEST", ANSWER), (None, ANSWER), ("Ben", "Who?"), ("Dr Ada Marrow", ANSWER))
    cast = renamed(blocks, mapping_of(told, "x.vtt"), [ADA])
    assert [b.speaker for b in cast] == [ADA, ADA, "Ben", ADA]
    assert [b.id for b in cast] == [b.id for b in blocks]


def test_two_names_of_the_persona_are_one_speaker() -> None:
    blocks = talk(("Rook", ANSWER), ("Ben", "And?"), ("Ada Marrow", ANSWER))
    cast = renamed(blocks, {}, [ADA, "Rook"])
    assert {b.speaker for b in cast} == {ADA, "Ben"}


def test_shares_tell_of_everybody() -> None:
    many = [(f"Caller {n}", "one two three") for n in range(12)]
    assert speaker_shares(talk(*many)).endswith("Caller 7 8 % and 4 more")


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Yeah.", True),
        ("Mm-hmm, right.", True),
        ("Oh, really?", True),
        ("Ja, genau.", True),
        ("D'accord, oui.", True),
        ("Claro que no.", False),
        ("Sí, sí, claro.", True),
        ("嗯嗯，对的。", True),
        ("是吗？", False),
        ("Why?", False),
        ("Go home.", False),
        ("I never saw it.", False),
        ("", False),
    ],
)
def test_backchannels(text: str, folded: bool) -> None:
    assert is_backchannel(text) is folded


def test_backchannels_are_folded_on_both_sides() -> None:
    blocks = talk(
        ("Ben", "What did you hear down there?"),
        (ADA, "Right."),
        ("Ben", "I mean in the morning, at the mill."),
        (ADA, ANSWER),
        ("Ben", "Wow."),
        (ADA, "Yeah."),
        (ADA, "And the wheel. " + ANSWER),
        ("Ben", "Amazing."),
    )
    rows = split(blocks)
    assert [p.text for p in rows.passages] == [f"{ANSWER}\n\nAnd the wheel. {ANSWER}"]
    assert asked(rows) == ["What did you hear down there?\n\nI mean in the morning, at the mill."]
    assert {rule_of(rows, blocks[n]) for n in (1, 4, 5, 7)} == {"backchannel"}


def test_wow_is_no_question() -> None:
    rows = split(talk(("Ben", "Wow."), (ADA, STORY)))
    assert len(rows.passages) == 1
    assert asked(rows) == []


def test_the_last_speaker_asks_unless_somebody_else_did() -> None:
    blocks = talk(("Ben", "Hello all."), ("Cy", "Where did you work?"), (ADA, ANSWER))
    rows = split(blocks)
    assert asked(rows) == ["Where did you work?"]
    assert rule_of(rows, blocks[0]) == "other_speaker"
    blocks = talk(("Ben", "Where did you work?"), ("Cy", "Good one, Ben."), (ADA, ANSWER))
    assert asked(split(blocks)) == ["Where did you work?"]


def test_an_intro_is_no_question_its_end_is() -> None:
    intro = "Ada was born in the year of the great flood and she went to sea. " * 30
    end = "You know that. What did the flood do to your house? I have wondered for a long time."
    blocks = talk(("Ben", intro + end), (ADA, ANSWER))
    rows = split(blocks)
    (question,) = asked(rows)
    assert question.endswith(end)
    assert size(question) <= SETTINGS.max_question_words
    assert "the last" in next(v.reason for v in rows.verdicts if v.subject_id == blocks[0].id)


def test_an_endless_sentence_is_no_question() -> None:
    blocks = talk(("Ben", "and then he said and then " * 40), (ADA, ANSWER))
    rows = split(blocks)
    assert asked(rows) == []
    assert rule_of(rows, blocks[0]) == "other_speaker"


def test_a_monologue_is_parted_at_sentence_ends() -> None:
    sentence = "In the year {} I built a boat of oak, and it was better than the one before it."
    long = " ".join(sentence.format(n) for n in range(80))
    blocks = talk(("Ben", "How was it?"), (ADA, long), ("Ben", "Ha."), (ADA, ANSWER))
    rows = split(blocks)
    assert " ".join(p.text for p in rows.passages).split() == f"{long} {ANSWER}".split()
    assert len(rows.passages) >= 4
    assert all(size(p.text) <= SETTINGS.max_words for p in rows.passages)
    assert all(ends_sentence(p.text) for p in rows.passages)
    assert [q.passage_id for q in rows.questions] == [rows.passages[0].id]
    assert len({p.thread_id for p in rows.passages}) == 1
    starts = [p.start_seconds or 0 for p in rows.passages]
    assert starts == sorted(starts)
    assert 10 < starts[1] < 20
    assert rows.passages[-1].end_seconds == 40.0


def test_a_short_rest_of_an_answer_loses_no_part_of_it() -> None:
    sentence = "In the year {} I built a boat of oak, and it was better than the one before it."
    texts = [
        " ".join(sentence.format(100 * n + m) for m in range(size_))
        for n, size_ in enumerate((1, 10, 16))
    ]
    parts = split_answer(talk(*((ADA, text) for text in texts)), SETTINGS)
    assert len(parts) > 1
    assert " ".join(part.text for part in parts).split() == " ".join(texts).split()


def _words(n: int) -> str:
    return " ".join(["We", *["ground"] * (n - 2), "flour."])


END = "And that is how the mill was built by my father and me."


def test_a_short_end_of_an_answer_is_not_lost() -> None:
    told = " ".join([*[_words(9)] * 27, _words(245), END])
    rows = split(talk(("Ben", "How was the mill built?"), (ADA, told)))
    assert " ".join(p.text for p in rows.passages).split() == told.split()
    assert [p.n_words for p in rows.passages] == [243, 258]
    middle = " ".join([*[_words(10)] * 31, *[_words(485)] * 2])
    rows = split(talk(("Ben", "How was the mill built?"), (ADA, middle)))
    assert " ".join(p.text for p in rows.passages).split() == middle.split()


@pytest.mark.parametrize(
    ("told", "short"), [(f"Oh yes. {_words(499)}", "Oh yes."), (f"{_words(490)} {END}", END)]
)
def test_a_part_that_fits_nowhere_is_noted_and_the_question_goes_to_the_rest(
    told: str, short: str
) -> None:
    blocks = talk(("Ben", "How was the mill built?"), (ADA, told))
    rows = split(blocks)
    (kept,) = rows.passages
    assert kept.text in told
    assert asked(rows) == ["How was the mill built?"]
    (note,) = [v for v in rows.verdicts if v.subject_id == blocks[1].id]
    assert (note.rule, note.keep) == ("short_answer", True)
    assert repr(short) in note.reason
    assert rule_of(rows, blocks[0]) == "question"


def test_parts_keep_paragraphs_and_chinese_has_no_spaces() -> None:
    paragraph = "I built a boat of oak that year, and it held. " * 12
    part = split_answer(talk((ADA, "\n\n".join([paragraph.strip()] * 8))), SETTINGS)
    assert all("\n\n" in each.text for each in part)
    chinese = "我小时候住在河边的一个村子里，父亲每天清早就出门去种地。" * 60
    found = split_answer(talk((ADA, chinese)), SETTINGS)
    assert len(found) > 1
    assert "".join(each.text for each in found) == chinese


def test_speech_without_punctuation_is_refused_not_learnt() -> None:
    blocks = talk(("Ben", "How was it?"), (ADA, "and then we went on and on " * 90))
    rows = split(blocks)
    assert not rows.passages
    assert rule_of(rows, blocks[1]) == "unpunctuated"


def test_nobody_has_to_alternate() -> None:
    blocks = talk(
        (ADA, ANSWER),
        (ADA, "Once more. " + ANSWER),
        (None, "What came after that?"),
        (ADA, "So. " + ANSWER),
    )
    rows = split(blocks)
    assert len(rows.passages) == 2
    assert asked(rows) == ["What came after that?"]
    blocks = [block(0, "Jingle", "boilerplate"), block(1, "Part one", "heading"), *talk()]
    assert {v.rule for v in split(blocks).verdicts} == {"boilerplate", "heading"}
    assert split(talk(("Ben", "Who is there?"))).passages == []
    assert split([]).verdicts == []
