"""Split: passages of prose, exchanges of talk, a verdict for every block that is in none."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from memoirist.data.passages.segmentation import split_prose
from memoirist.data.passages.settings import PassageSettings
from memoirist.data.schema.records import Block, Rows
from memoirist.data.text.words import count_words, ends_sentence
from memoirist.data.transcripts.question_answer import split_turns
from memoirist.data.transcripts.speakers import find_persona, speaker_shares
from tests.support.rows import NOW, block, document, prose

SETTINGS = PassageSettings.model_validate({})


def _split(blocks: list[Block], **settings: int) -> Rows:
    rows = split_prose(document(), blocks, PassageSettings.model_validate(settings), NOW)
    inside = {i for p in rows.passages for i in p.block_ids}
    dropped = {v.subject_id for v in rows.verdicts if not v.keep}
    # Nothing leaves the data without a verdict, and nothing is both in and out.
    assert inside | dropped == {b.id for b in blocks}
    assert not inside & dropped
    return rows


def test_paragraphs_become_passages_of_the_wanted_size() -> None:
    blocks = [block(n, prose(n, 2), chapter=f"C{n // 10}", page=n) for n in range(30)]
    rows = _split(blocks)
    assert {p.chapter for p in rows.passages} == {"C0", "C1", "C2"}
    for each in rows.passages:
        assert 80 <= each.n_words <= 500
        assert ends_sentence(each.text)
        members = [b for b in blocks if b.id in each.block_ids]
        assert each.text == "\n\n".join(b.text for b in members)
        assert (each.page_first, each.page_last) == (members[0].page, members[-1].page)
        assert len({b.chapter for b in members}) == 1
    assert len({p.id for p in rows.passages}) == len(rows.passages)


def test_furniture_is_dropped_and_does_not_part_a_passage() -> None:
    blocks = [
        block(0, "CHAPTER I", "heading", chapter="I"),
        block(1, prose(1, 2), chapter="I"),
        block(2, "A running head", "running_head", chapter="I"),
        block(3, "See the appendix.", "footnote", chapter="I"),
        block(4, prose(2, 2), chapter="I"),
    ]
    rows = _split(blocks)
    assert [p.block_ids for p in rows.passages] == [(blocks[1].id, blocks[4].id)]
    assert {v.rule for v in rows.verdicts} == {"heading", "running_head", "footnote"}
    assert all(v.next_step for v in rows.verdicts)


def test_a_short_end_joins_the_passage_before_and_a_lonely_one_is_dropped() -> None:
    rows = _split([block(0, prose(0, 4), chapter="A"), block(1, "And so it was.", chapter="A")])
    assert len(rows.passages) == 1
    assert rows.passages[0].text.endswith("And so it was.")
    rows = _split([block(0, prose(0), chapter="A"), block(1, "And so it was.", chapter="B")])
    assert [v.rule for v in rows.verdicts] == ["too_short"]


def test_a_long_paragraph_is_cut_at_sentence_ends() -> None:
    long = block(0, prose(0, 30))
    rows = _split([long])
    assert len(rows.passages) > 2
    assert " ".join(p.text for p in rows.passages) == long.text
    assert all(80 <= p.n_words <= 500 and ends_sentence(p.text) for p in rows.passages)


def test_what_ends_no_sentence_goes_on_or_is_dropped() -> None:
    opening = block(0, prose(0, 4)[:-1] + ", as follows:")
    rows = _split([opening, block(1, prose(1, 1))])
    assert len(rows.passages) == 1
    rows = _split([opening])
    assert rows.passages[0].text == prose(0, 3)
    assert [(v.rule, v.keep) for v in rows.verdicts] == [("cut_sentence", True)]
    assert [v.rule for v in _split([block(0, prose(0, 1)[:-1])]).verdicts] == ["unfinished"]


def test_nothing_and_only_furniture() -> None:
    assert _split([]).passages == []
    rows = _split([block(0, "iv", "folio"), block(1, "Contents", "contents")])
    assert rows.passages == []
    assert len(rows.verdicts) == 2


def test_a_rerun_gives_the_same_and_a_changed_chapter_changes_only_itself() -> None:
    blocks = [block(n, prose(n, 4), chapter=f"C{n // 4}") for n in range(16)]
    first = _split(blocks)
    assert _split(blocks) == first
    blocks[5] = block(5, prose(99, 4), chapter="C1")
    changed = _split(blocks)
    same = {p.id for p in first.passages} & {p.id for p in changed.passages}
    assert {p.chapter for p in first.passages if p.id not in same} == {"C1"}
    assert len(same) == len(first.passages) - 1


def test_a_book_without_chapters_still_has_groups_to_hold_out() -> None:
    rows = _split([block(n, prose(n, 4)) for n in range(40)])
    assert len({p.group_id for p in rows.passages}) == 4


def test_chinese_is_counted_by_characters() -> None:
    text = "我小时候住在河边的一个村子里，父亲每天清早就出门去种地。" * 5
    rows = _split([block(n, text) for n in range(3)])
    assert rows.passages
    assert all(p.n_words == count_words(p.text) > 100 for p in rows.passages)


def test_contradictory_sizes_are_refused() -> None:
    with pytest.raises(ValidationError, match="min_words"):
        PassageSettings.model_validate({"min_words": 300})


def _talk(*turns: tuple[str, str]) -> list[Block]:
    return [
        block(n, text, "turn", speaker=speaker, start_seconds=float(n), end_seconds=n + 1.0)
        for n, (speaker, text) in enumerate(turns)
    ]


ANSWER = "I went down to the mill every morning before the others and I listened to the water."


def test_the_other_speakers_turn_is_the_question() -> None:
    blocks = _talk(
        ("Host", "Welcome."),
        ("Host", "What did you do first?"),
        ("Ada Marrow", ANSWER),
        ("Host", "Mm-hm."),
        ("Ada Marrow", "And then I went home. " + ANSWER),
        ("Host", "Thank you."),
        ("Ada Marrow", "Not at all."),
    )
    rows = split_turns(document(), blocks, "Ada Marrow", SETTINGS, NOW)
    (answer,) = rows.passages
    assert answer.text == blocks[2].text + "\n\n" + blocks[4].text
    assert [q.text for q in rows.questions] == ["Welcome.\n\nWhat did you do first?"]
    assert rows.questions[0].origin == "spoken"
    assert (answer.start_seconds, answer.end_seconds) == (2.0, 5.0)
    rules = {v.subject_id: v.rule for v in rows.verdicts}
    assert rules[blocks[3].id] == "backchannel"
    assert rules[blocks[6].id] == "short_answer"
    assert set(rules) == {b.id for b in blocks} - set(answer.block_ids)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["Ada Marrow"], "Ada Marrow"),
        (["ada marrow"], "Ada Marrow"),
        (["A. Marrow"], "Ada Marrow"),
        (["Dr Ada Marrow"], "Ada Marrow"),
        (["Bea Marrow"], None),
        (["Nobody"], None),
        ([""], None),
    ],
)
def test_the_persona_is_found_by_name(names: list[str], found: str | None) -> None:
    blocks = _talk(("Host", "Welcome."), ("Ada Marrow", ANSWER))
    assert find_persona(blocks, names) == found


def test_shares_name_the_speakers() -> None:
    blocks = _talk(("Host", "one two"), ("Ada", "one two three four five six"))
    assert speaker_shares(blocks) == "Ada 75 %, Host 25 %"
