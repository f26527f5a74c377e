"""Passages that stand alone: where they may begin, and what they must not cut."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memoirist.data.authorship.insertions import find_insertions
from memoirist.data.passages.borders import OPENING_COSTS, opening_fault
from memoirist.data.passages.segmentation import split_prose
from memoirist.data.passages.settings import PassageSettings
from memoirist.data.schema.records import Block, Rows
from memoirist.data.text.language_rules import CODES, language, opening_rules
from memoirist.data.text.words import count_words
from tests.support.rows import NOW, block, document, prose


def _split(*texts: str, **settings: object) -> Rows:
    return _split_blocks([block(n, text, chapter="I") for n, text in enumerate(texts)], **settings)


def _split_blocks(blocks: list[Block], **settings: object) -> Rows:
    english = replace(document(), lang="en")
    rows = split_prose(english, blocks, PassageSettings.model_validate(settings), NOW)
    inside = {i for p in rows.passages for i in p.block_ids}
    dropped = {v.subject_id for v in rows.verdicts if not v.keep}
    assert inside | dropped == {b.id for b in blocks}
    assert not inside & dropped
    assert all(v.reason and v.next_step for v in rows.verdicts)
    assert rows == split_prose(english, blocks, PassageSettings.model_validate(settings), NOW)
    return rows


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("pronoun", "His character was in several respects noble."),
        ("pointer", "This victory was important to all of us."),
        ("pointer", "In this address I said what I thought."),
        ("pointer", "After that kindly introduction I went north."),
        ("connective", "The charge, however, was made at noon."),
        ("later_pointer", "My activity in the work of these men was agreeable to him."),
        ("reference", "While the men were standing as here described a boat came."),
        ("object", "I told him that I could not come."),
        ("conjunction", "But how were we to get to the mill?"),
        ("quoted", "“No,” said my father, and went on with the flour."),
        ("signature", "U. S. GRANT, Lieut.-General.\n\nLee acceded at once."),
        ("signature", "To President Ada Marrow, Normal Institute, Mill Hill.\n\nIt is ten years."),
    ],
)
def test_openings_that_point(rule: str, text: str) -> None:
    assert opening_fault(text, "en") == rule


@pytest.mark.parametrize(
    "text",
    [
        "These embarrassments that the Quakers suffered were many.",
        "This first visit which the general made to us was short.",
        "In those days we had no mill.",
        "At this time the river was low.",
        "Among those on the platform was my father.",
        "My mother had likewise an excellent constitution.",
        "",
    ],
)
def test_openings_that_stand(text: str) -> None:
    assert opening_fault(text, "en") is None


@pytest.mark.parametrize(
    ("lang", "points", "stands"),
    [
        ("de", "Dieser Sieg war für uns wichtig.", "An diesem Tag ging ich fort."),
        ("de", "Seine Mutter lebte in Bern.", "Meine Mutter lebte in Bern."),
        ("fr", "Cette victoire fut grande.", "Il y avait une maison au bord."),
        ("fr", "Elle partit le soir même.", "Ce jour je partis."),
        ("es", "Aquella victoria fue grande.", "En aquel tiempo no sabía leer."),
        ("es", "Ella se fue a la ciudad.", "Mi madre se fue a la ciudad."),
        ("zh", "他的父親是一個醫生。", "其实我早就知道。"),
        ("zh", "這件事我一直記得。", "这时候我还小。"),
    ],
)
def test_other_languages_have_their_own_words(lang: str, points: str, stands: str) -> None:
    assert opening_fault(points, lang) in OPENING_COSTS
    assert opening_fault(stands, lang) is None


def test_every_rule_of_every_language_has_a_cost() -> None:
    assert {rule for code in CODES for rule in opening_rules(code)} <= set(OPENING_COSTS)
    assert opening_rules("xx") == {}
    assert opening_fault("This victory was important.", None) is None


@pytest.mark.timeout(5)
@pytest.mark.parametrize("lang", CODES)
def test_a_long_word_is_rated_at_once(lang: str) -> None:
    for start in ("", "This ", "Dieser ", "Cette ", "Esta ", "這"):
        assert opening_fault(start + "a" * 300, lang) in {None, "pointer"}
        assert opening_fault(start + "a " * 150, lang) in {None, "pointer"}


def test_a_border_moves_where_the_next_paragraph_points_back() -> None:
    pointing = "This flood took the mill from us. " + prose(2, 3)
    rows = _split(prose(0, 3), prose(1, 3), pointing, prose(3, 3))
    assert [p.text.split("\n\n") for p in rows.passages] == [
        [prose(0, 3)], [prose(1, 3), pointing], [prose(3, 3)]
    ]  # fmt: skip
    assert not rows.verdicts


def test_text_stands_once_and_verbatim() -> None:
    texts = [prose(n, 2 + n % 7) for n in range(20)]
    rows = _split(*texts)
    assert "\n\n".join(p.text for p in rows.passages) == "\n\n".join(texts)


def test_the_sentence_before_is_taken_in_where_the_paragraph_is_too_long() -> None:
    before, pointing = prose(0, 8), "He never came back. " + prose(1, 8)
    rows = _split(before, pointing)
    assert " ".join(p.text.replace("\n\n", " ") for p in rows.passages) == f"{before} {pointing}"
    assert not any(p.text.startswith("He") for p in rows.passages)


def test_what_cannot_be_repaired_is_dropped_with_a_reason_unless_the_recipe_keeps_it() -> None:
    blocks = [
        block(0, prose(0, 4), chapter="I"),
        block(1, "A letter of another.", chapter="I"),
        block(2, "He never came back. " + prose(1, 4), chapter="I"),
    ]
    english = replace(document(), lang="en")
    rows = split_prose(english, blocks, PassageSettings(), NOW, {blocks[1].id})
    assert [p.text for p in rows.passages] == [blocks[0].text]
    (verdict,) = rows.verdicts
    assert (verdict.rule, verdict.subject_id, verdict.keep) == ("points_back", blocks[2].id, False)
    kept = split_prose(english, blocks, PassageSettings(standalone=False), NOW, {blocks[1].id})
    assert len(kept.passages) == 2
    assert not kept.verdicts


@pytest.mark.parametrize("n_words", [80, 88, 93, 98, 120])
def test_a_pointing_paragraph_between_letters_is_told_as_such(n_words: int) -> None:
    own = "He never came back. " + " ".join(["and the mill stood"] * 40)
    own = " ".join(own.split()[:n_words]) + "."
    assert count_words(own) == n_words
    (verdict,) = _between_letters(own).verdicts
    assert verdict.rule == "points_back"
    assert len(_between_letters(own, standalone=False).passages) == 1


def _between_letters(text: str, **settings: object) -> Rows:
    texts = ("A letter of another.", text, "A letter of another.")
    blocks = [block(n, each, chapter="I") for n, each in enumerate(texts)]
    chosen = PassageSettings.model_validate(settings)
    english = replace(document(), lang="en")
    return split_prose(english, blocks, chosen, NOW, {blocks[0].id, blocks[2].id})


def test_what_is_within_the_limits_is_not_lost() -> None:
    own = "We went down to the mill before the others came."
    rows = _between_letters(own, min_words=5)
    assert [p.text for p in rows.passages] == [own]
    assert not rows.verdicts
    assert len(_split("I was born.", min_words=1).passages) == 1
    texts = [prose(n, 7) for n in range(20)]
    rows = _split(*texts, min_words=100, target_words=100, soft_max_words=100)
    assert "\n\n".join(p.text for p in rows.passages) == "\n\n".join(texts)
    assert len(rows.passages) > 10


def test_only_a_sentence_beyond_the_limit_is_uncut() -> None:
    endless = " ".join(["and the mill stood"] * 1_000) + "."
    rows = _split("We went to the mill.", endless, "We came home.")
    assert [v.rule for v in rows.verdicts] == ["too_short", "uncut", "too_short"]
    eighty = " ".join(["we"] * 80) + "."
    rows = _split(eighty, eighty, min_words=90, target_words=90, soft_max_words=95, max_words=100)
    assert {v.rule for v in rows.verdicts} == {"too_short"}
    assert "it does not fill a passage of 90 to 100 words (160 here)" in rows.verdicts[0].reason


def test_only_the_pointing_paragraph_goes_where_the_next_one_stands() -> None:
    blocks = [
        block(0, prose(0, 4), chapter="I"),
        block(1, "A letter of another.", chapter="I"),
        block(2, "He never came back. " + prose(1, 1), chapter="I"),
        block(3, prose(2, 4), chapter="I"),
    ]
    english = replace(document(), lang="en")
    rows = split_prose(english, blocks, PassageSettings(), NOW, {blocks[1].id})
    assert [p.text for p in rows.passages] == [blocks[0].text, blocks[3].text]
    assert [v.subject_id for v in rows.verdicts] == [blocks[2].id]


def test_the_beginning_of_a_chapter_may_point_to_its_title() -> None:
    blocks = [
        block(0, "My Father", "heading", chapter="My Father"),
        block(1, "He kept the mill for forty years. " + prose(0, 3), chapter="My Father"),
    ]
    assert len(_split_blocks(blocks).passages) == 1


LETTER = (
    "COLD HARBOR, VA., June 5, 1864.",
    "GENERAL A. MARROW, Commanding the Mill.",
    prose(5, 2),
    prose(6, 2),
    "B. H. STONE, Lieut.-General.",
)


@pytest.mark.parametrize("before", range(2, 7))
def test_a_letter_keeps_its_announcement_and_its_signature(before: int) -> None:
    announcing = prose(1, 2) + " At noon I wrote to her as follows:"
    rows = _split(prose(0, before), announcing, *LETTER, prose(7, 4))
    (letter,) = [p for p in rows.passages if "COLD HARBOR" in p.text]
    assert "as follows:\n\nCOLD HARBOR" in letter.text
    assert "\n\n".join(LETTER) in letter.text


def test_an_announcement_leaves_its_paragraph_where_the_letter_is_anothers() -> None:
    body = prose(0, 3)
    blocks = [
        block(0, body + " That night he wrote to me as follows:", chapter="I"),
        block(1, LETTER[2], chapter="I"),
    ]
    english = replace(document(), lang="en")
    rows = split_prose(english, blocks, PassageSettings(), NOW, {blocks[1].id})
    assert [p.text for p in rows.passages] == [body]
    (note,) = rows.verdicts
    assert (note.rule, note.keep) == ("cut_sentence", True)
    assert "That night he wrote" in note.reason


def test_one_note_tells_all_that_a_paragraph_lost() -> None:
    before, body, after = "He was late. He was ill.", prose(0, 30), "And we read as follows:"
    (note,) = _between_letters(f"{before} {body} {after}").verdicts
    assert (note.rule, note.keep) == ("cut_sentence", True)
    assert repr(f"{before} {after}") in note.reason
    assert note.score == count_words(f"{before} {after}")


@pytest.mark.parametrize(
    ("kind", "texts", "first", "last"),
    [
        ("letter", ("I wrote as follows:", *LETTER, "Then it rained."), 1, 5),
        ("letter", ("Dear Sir: " + prose(0), "Yours truly,", "Ada Marrow.", prose(1)), 0, 2),
        ("quotation", ("He said:", "“One day it rained.", "“And so it was.”", "It rained."), 1, 2),
        ("quotation", ("“One day it rained.", "“And so it was.”", "It rained."), 0, 1),
        ("quotation", ("He said:", "“Yes?” said he.", "“No,” said she.", "It rained."), 1, 1),
        ("quotation", ("‘It didn’t rain.", "‘It was dry,’ he said.", "‘Was it?’ I said."), 0, 1),
        ("quotation", ("He wrote:", "”YORK, IOWA”, May 4.", "”We won.", "”B. STONE.”"), 1, 3),
        ("list", ("The rules were:", "1. Rise.", "2. Work.", "It rained."), 1, 2),
        ("list", ("First, rise.", "Secondly, work.", "It rained."), 0, 1),
        ("text", ("The paper said:—", prose(0), "It rained."), 1, 1),
    ],
)
def test_insertions_are_found_whole(
    kind: str, texts: tuple[str, ...], first: int, last: int
) -> None:
    blocks = [block(n, text) for n, text in enumerate(texts)]
    (found,) = find_insertions(blocks, language("en"))
    assert (found.kind, found.first, found.last) == (kind, first, last)


@pytest.mark.parametrize(
    "texts",
    [
        (),
        ("It rained.",),
        ("“Yes,” he said.", "It rained."),
        ("It rained:",),
        ("A. B.", "C. D."),
        ("“Yes,” he said.", "“No,” she said.", "“It rained,” I said.", "It rained."),
        ("“Yes,” he said.", "“No.”", "It rained."),
        ('"Yes," he said.', '"No," she said.', "It rained."),
        ("»Ja«, sagte er.", "»Nein«, sagte sie.", "Es regnete."),
        ("„Ja“, sagte er.", "„Nein“, sagte sie.", "Es regnete."),
        ("「是」他說。", "「不」她說。", "下雨了。"),
    ],
)
def test_plain_prose_and_talk_are_no_insertions(texts: tuple[str, ...]) -> None:
    blocks = [block(n, text) for n, text in enumerate(texts)]
    assert not list(find_insertions(blocks, language("en")))


def test_a_list_stays_whole() -> None:
    items = [f"{n}. {prose(n, 1)}" for n in range(1, 6)]
    rows = _split(prose(0, 5), "My rules were these:", *items, prose(9, 5))
    (found,) = [p for p in rows.passages if items[0] in p.text]
    assert "\n\n".join(items) in found.text


def test_a_changed_chapter_changes_only_its_own_passages() -> None:
    def chapters(changed: str) -> set[str]:
        texts = [(c, prose(10 * c + n, 2 + n % 3)) for c in range(3) for n in range(8)]
        texts[11] = (1, changed)
        rows = _split_blocks([block(n, t, chapter=f"C{c}") for n, (c, t) in enumerate(texts)])
        return {p.id for p in rows.passages if p.chapter != "C1"}

    assert chapters("This was all. " + prose(90, 2)) == chapters(prose(91, 5))
