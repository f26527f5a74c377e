"""Voice: what another wrote is set aside with its reason, what the persona wrote stays."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memoirist.data.authorship.attribution import (
    Attribution,
    AttributionSettings,
    attribute_sections,
)
from memoirist.data.authorship.letters import cut_comments
from memoirist.data.authorship.signatures import (
    classify_title,
    count_mentions,
    is_persona,
    looks_like_name,
    names_of,
    signature_at_end,
)
from memoirist.data.passages.segmentation import matches, nearest, sections, split_prose
from memoirist.data.passages.settings import ChapterSettings, PassageSettings
from memoirist.data.schema.records import Block, BlockKind
from memoirist.data.text.language_rules import language
from tests.support.rows import NOW, block, document, source

ADA = ("Ada Marrow",)
# What the author says: 7 words for "I" among 60.
MINE = (
    "I was ten when my father gave me the key of the mill, and I kept it under my pillow. In the"
    " morning I went down to the water before the men came. Number {n} on the wall was the mark"
    " of the great flood, and I looked at it as other children look at a picture of the sea. It"
    " rained all that week."
)
ABOUT = (
    "Ada Marrow was born in the valley in the year of the flood {n}. Her father kept the mill. Miss"
    " Marrow never married, and the town remembers Marrow as a stern reader of scales. The life"
    " that Marrow led was hard; few of her letters have been found, and the rest is in this book."
)


def chapter(title: str | None, *texts: str, start: int = 0, kind: BlockKind = "heading") -> list:
    """Return a heading and its paragraphs, numbered from `start` tens of thousands on."""
    blocks = [block(start * 1000, title, kind, chapter=title)] if title else []
    for number, text in enumerate(texts, start=start * 1000 + 1):
        blocks.append(block(number, text, chapter=title))
    return blocks


def book(*extra: list[Block]) -> list[Block]:
    """Return three chapters of the author's with others' sections before them."""
    own = [
        chapter(f"{n}. The Mill", *(MINE.format(n=n * 10 + i) for i in range(6)), start=50 + n)
        for n in range(3)
    ]
    return [each for part in (*extra, *own) for each in part]


def heard(
    blocks: list[Block], names: tuple[str, ...] = ADA, lang: str = "en", **chapters: list[str]
) -> Attribution:
    settings = AttributionSettings(
        source=source(),
        names=names,
        chapters=ChapterSettings.model_validate(chapters),
        automatic=True,
        now=NOW,
    )
    found = attribute_sections(replace(document(), lang=lang), blocks, settings)
    assert [b.id for b in found.blocks] == [b.id for b in blocks], "nothing may be lost"
    assert found.excluded == {v.subject_id for v in found.verdicts if not v.keep}
    assert all(v.next_step and v.reason for v in found.verdicts)
    return found


def _reasons(found: Attribution) -> set[str]:
    return {verdict.reason for verdict in found.verdicts if not verdict.keep}


def test_a_book_that_is_all_the_authors_stays_whole() -> None:
    assert heard(book()).verdicts == []


@pytest.mark.parametrize(
    ("title", "kind"),
    [
        ("Editor's Preface", "other"),
        ("PREFACE BY THE EDITOR.", "other"),
        ("Introduction by the Editor", "other"),
        ("Introduction by L. Maria Child", "other"),
        ("Translator’s Note", "other"),
        ("About the Author", "other"),
        ("Preface by the Author", "own"),
        ("Author's Preface", "own"),
        ("Preface by Ada Marrow", "own"),
        ("Acknowledgments", "own"),
        ("INDEX", "apparatus"),
        ("Notes", "apparatus"),
        ("Preface to the Second Edition", "doubtful"),
        ("Appendix B", "doubtful"),
        ("Letter from Mr. Abel James", "letter"),
        ("Chapter I. A Slave Among Slaves", "plain"),
        ("Notes from Underground", "plain"),
        ("Index Fingers", "plain"),
        ("The Editor of the Herald", "plain"),
        ("My Letters to the Governor of the Bank", "plain"),
        ("Vorwort des Herausgebers", "other"),
        ("Nachwort von Hans Meier", "other"),
        ("Vorrede des Verfassers", "own"),
        ("Literaturverzeichnis", "apparatus"),
        ("Anhang", "doubtful"),
        ("Préface de l’éditeur", "other"),
        ("Préface de Paul Bourget", "other"),
        ("Avant-propos", "doubtful"),
        ("Note du traducteur", "other"),
        ("Table des matières", "apparatus"),
        ("Préface de la deuxième édition", "doubtful"),
        ("Prólogo del editor", "other"),
        ("Prólogo de Juan Valera", "other"),
        ("Prólogo del autor", "own"),
        ("Índice", "apparatus"),
        ("出版說明", "other"),
        ("译者序", "other"),
        ("自序", "own"),
        ("作者简介", "other"),
        ("目錄", "apparatus"),
        ("附录一", "doubtful"),
        ("故鄉", "plain"),
    ],
)
def test_titles_in_five_languages(title: str, kind: str) -> None:
    for lang in ("de", "fr", "es", "zh", "en"):
        found = classify_title(title, lang, names_of(ADA)).kind
        if found == kind:
            return
    pytest.fail(f"{title!r} is never {kind}")


def test_an_editors_preface_goes_and_the_authors_stays() -> None:
    editors = chapter("Editor's Preface", "This volume needs no praise from us at all.", start=1)
    authors = chapter("Author's Preface", "This volume needs some excuse.", start=2)
    found = heard(book(editors, authors))
    assert found.excluded == {editors[1].id}
    assert "Editor's Preface" in found.verdicts[0].reason
    assert "--include-chapter" in str(found.verdicts[0].next_step)


def test_a_preface_signed_by_another_goes_and_one_by_the_author_stays() -> None:
    text = "These pages were found in a drawer, tied with a string and hardly to be read."
    for signature, goes in (
        ("Louise Whitfield Marrow", True),
        ("W. E. CHANNING.", True),
        ("Ada Marrow", False),
        ("A. M.", False),
        ("THE AUTHOR.", False),
        ("THE EDITOR.", True),
    ):
        preface = chapter("PREFACE", text, signature, "London, May 4, 1921.", start=1)
        found = heard(book(preface))
        assert bool(found.excluded) is goes, signature
        if goes:
            assert found.excluded == {b.id for b in preface[1:]}


def test_a_section_about_the_persona_goes() -> None:
    sketch = chapter("A Memory", *(ABOUT.format(n=n) for n in range(3)), start=1)
    found = heard(book(sketch))
    assert found.excluded == {b.id for b in sketch[1:]}
    (reason,) = _reasons(found)
    assert "about the persona in the third person (" in reason
    assert "'Marrow'" in reason


def test_prose_without_i_stays_in_essays_and_in_lives_told_by_others() -> None:
    essay = "Bread is made of flour and of time. Nobody who hurries has ever eaten good bread {n}."
    essays = [each for n in range(4) for each in chapter(f"{n}", essay.format(n=n) * 8, start=n)]
    assert heard(essays).verdicts == []
    life = [each for n in range(4) for each in chapter(f"{n}", ABOUT.format(n=n) * 3, start=n)]
    assert heard(life).excluded == set()


def test_a_cold_appendix_is_kept_in_doubt_unless_it_stands_beside_anothers() -> None:
    cold = "The mill stood on the left bank. It had three wheels and a loft for the grain. " * 5
    appendix = chapter("Appendix", cold, start=90)
    found = heard([*book(), *appendix])
    assert found.excluded == set()
    assert [v.rule for v in found.verdicts] == ["voice_unsure"]
    note = chapter("Publisher's Note", "This edition follows the first.", start=89)
    assert heard([*book(), *note, *appendix]).excluded == {note[1].id, appendix[1].id}


def test_a_mark_on_a_section_stands_on_its_own_text() -> None:
    imprint = replace(block(300, "Printed at the press.", kind="boilerplate"))
    cold = "The mill stood on the left bank. It had three wheels and a loft for the grain. " * 5
    found = heard([imprint, *chapter("Appendix", cold, start=90), *book()])
    (doubt,) = found.verdicts
    assert (doubt.rule, doubt.subject_id) == ("voice_unsure", found.blocks[2].id)
    kept = heard([imprint, *book()], include=["0. The Mill"])
    assert kept.verdicts[0].subject_id == kept.blocks[2].id


def test_the_authors_text_under_the_editors_title_stays() -> None:
    editors = [ABOUT.format(n=n) for n in range(3)]
    mine = [MINE.format(n=n) for n in range(12)]
    blocks = chapter("Introductory Note", *editors, *mine, start=1)
    found = heard(blocks)
    assert found.excluded == {b.id for b in blocks[1:4]}


def test_a_letter_by_another_goes_and_one_by_the_persona_stays() -> None:
    def letter(name: str) -> list[str]:
        return [
            "My dear Sir: I have read what you sent me with the greatest pleasure and attention.",
            "The scales are in good order, and the inspector has found nothing to complain of.",
            "Believe me, with great regard,",
            "Very truly yours,",
            name,
        ]

    before, behind = MINE.format(n=1), MINE.format(n=2)
    for name, goes in (("Charles W. Eliot.", True), ("Ada Marrow.", False)):
        blocks = chapter("4. Letters", before, *letter(name), behind, start=4)
        found = heard(book(blocks))
        expected = {b.id for b in blocks[2:7]} if goes else set()
        assert found.excluded == expected
        if goes:
            assert _reasons(found) == {"a letter signed 'Charles W. Eliot'"}


def test_a_letter_without_an_end_stays() -> None:
    text = "Dear Son: I have ever had pleasure in obtaining any little anecdotes of my family."
    assert (
        heard(book(chapter("Part One", text, *(MINE.format(n=n) for n in range(5))))).excluded
        == set()
    )
    kin = "My dear mother, who was never ill, died that year. " + MINE.format(n=3)
    assert heard(book(chapter("Part One", kin, MINE.format(n=4)))).excluded == set()


def test_signed_comments_are_cut_out_and_whole_ones_go() -> None:
    note = "[My mother's pages were written for her children alone, and never revised.—F.M.]"
    inline = "I tasted the sweets (they were mint imperials.—F.M.) and I put them back."
    mine = "I weighed it again (it was a pound.—A.M.) and wrote it down [see the plate]."
    blocks = chapter("4. Sweets", note, inline, mine, MINE.format(n=1), start=4)
    found = heard(book(blocks))
    assert found.excluded == {blocks[1].id}
    texts = {b.id: b.text for b in found.blocks}
    assert texts[blocks[2].id] == "I tasted the sweets and I put them back."
    assert texts[blocks[3].id] == mine
    (cut,) = [v for v in found.verdicts if v.rule == "voice_comment"]
    assert cut.keep
    assert "mint imperials" in cut.reason
    assert (
        cut_comments(
            "He lived in Washington (it lies in D.C.) then.", names_of(ADA), language("en")
        )[1]
        == []
    )


def test_the_user_has_the_last_word() -> None:
    editors = chapter("Editor's Preface", "This volume needs no praise from us at all.", start=1)
    kept = heard(book(editors), include=["editor's pre"])
    assert kept.excluded == set()
    assert [v.rule for v in kept.verdicts] == ["included_chapter"]
    gone = heard(book(), exclude=["1. the*"])
    assert len(gone.excluded) == 6
    assert {v.rule for v in gone.verdicts} == {"excluded_chapter"}
    only = heard(book(editors), exclude=["*"], include=["0. The Mill"])
    assert len(only.excluded) == 13
    other = heard(book(), exclude=["other.pdf: 1. The Mill", "0.pdf: 2. The Mill"])
    assert len(other.excluded) == 6


def test_a_pattern_names_a_source_only_where_there_is_one() -> None:
    titles = ["Part I: Childhood", None]
    assert matches("Part I: Child", source(), titles)
    assert matches("book 0: child", source(), titles)
    assert not matches("book 1: child", source(), titles)
    assert matches("(untitled)", source(), titles)
    assert nearest("Childhod", ["Part I: Childhood", "Youth"])[0] == "Part I: Childhood"


def test_no_passage_goes_on_behind_anothers_block() -> None:
    blocks = chapter("4. Letters", *(MINE.format(n=n) for n in range(6)), start=4)
    aside = {blocks[3].id}
    settings = PassageSettings.model_validate({})
    rows = split_prose(document(), blocks, settings, NOW, aside)
    assert rows.passages
    for each in rows.passages:
        assert blocks[3].id not in each.block_ids
        assert not {blocks[2].id, blocks[4].id} <= set(each.block_ids)
    assert blocks[3].id not in {v.subject_id for v in rows.verdicts}


def test_finished_paragraphs_stay_when_the_last_ends_no_sentence() -> None:
    blocks = [
        block(0, MINE.format(n=1)),
        block(1, MINE.format(n=2)),
        block(2, "It read as follows:"),
    ]
    rows = split_prose(document(), blocks, PassageSettings.model_validate({}), NOW)
    assert [p.block_ids for p in rows.passages] == [(blocks[0].id, blocks[1].id)]
    assert [(v.subject_id, v.rule) for v in rows.verdicts] == [(blocks[2].id, "unfinished")]


def test_nothing_to_hear_and_a_rerun() -> None:
    assert heard([]).blocks == []
    blocks = book(chapter("PREFACE", "A word before.", "John Smith", start=1))
    assert heard(blocks) == heard(blocks)
    assert len(sections(blocks)) == 4


@pytest.mark.parametrize(
    ("signature", "name", "same"),
    [
        ("U. S. GRANT.", "Ulysses S. Grant", True),
        ("Booker Washington", "Booker T. Washington", True),
        ("Benj. Franklin", "Benjamin Franklin", True),
        ("B. F.", "Benjamin Franklin", True),
        ("F.D.", "Charles Darwin", False),
        ("Francis Darwin", "Charles Darwin", False),
        ("Louise Whitfield Carnegie", "Andrew Carnegie", False),
        ("Linda Brent", "Harriet Jacobs", False),
        ("一九二二年十二月三日，魯迅記於北京", "魯迅", True),
    ],
)
def test_signatures(signature: str, name: str, *, same: bool) -> None:
    assert is_persona(signature, names_of((name,))) is same


def test_names_are_told_from_other_short_lines() -> None:
    for name in (
        "Walter H. Page.",
        "D.C. Gilman",
        "Charles de Gaulle",
        "W. T. SHERMAN, Major-General.",
    ):
        assert looks_like_name(name), name
    for line in (
        "THE END",
        "New York",
        "Yours very truly,",
        "Chapter One was long",
        "I",
        "May 1845",
    ):
        assert not looks_like_name(line), line
    said = ["The whole of it is true.", "“George W. Lowther.”"]
    assert signature_at_end(said, language("en")) == "George W. Lowther"
    assert signature_at_end(["It was so. JOHN ADDISON PORTER."], language("en"))
    assert signature_at_end(["And then he went home to New York."], language("en")) is None


@pytest.mark.parametrize(
    ("lang", "sign"),
    [
        ("de", "Der Übersetzer."),
        ("fr", "L’Éditeur."),
        ("fr", "LA RÉDACTION"),
        ("es", "El Traductor."),
        ("zh", "编者"),
    ],
)
def test_a_role_signs_with_or_without_accents(lang: str, sign: str) -> None:
    assert signature_at_end(["", sign], language(lang)) == sign.strip(".")


def test_kin_and_namesakes_are_not_the_persona() -> None:
    names, english = names_of(("Charles Darwin",)), language("en")
    assert count_mentions("Mr. Darwin met Charles Darwin. Then Darwin left.", names, english) == 3
    assert count_mentions("He saw Mrs. Darwin and old Erasmus Darwin.", names, english) == 0


REPORT = (
    "The hall was full to the doors last night when the speaker rose, and the crowd of millers and"
    " of carters stood on the benches. It was a speech that the town will not forget, short and"
    " plain and without a word too many, and the applause went on until the lamps were lit."
)


@pytest.mark.parametrize(
    ("announcement", "texts", "dropped"),
    [
        ("A paper of the county said:—", (REPORT,), 1),
        ("Mr. Stone was present, and telegraphed the following account:—", (REPORT,), 1),
        ("A paper said:—", (REPORT, "In all this Ada Marrow was the head."), 2),
        ("A paper said:—", (REPORT, MINE), 1),
        ("I then said to them:—", (REPORT,), 0),
        ("It was said of us:—", (REPORT,), 0),
        ("The order was issued as follows:", (REPORT,), 0),
        ("The general wrote:", ("Mill Hill, May 5, 1864.", REPORT, "B. H. STONE, General."), 3),
        ("The general wrote:", ("Mill Hill, May 5, 1864.", REPORT, "A. MARROW, Miller."), 0),
        ("A paper said:—", ("A short word.",), 0),
    ],
)
def test_what_the_text_announces_as_anothers(
    announcement: str, texts: tuple[str, ...], dropped: int
) -> None:
    story = chapter("The Speech", MINE, announcement, *texts, MINE.format(n=99), start=70)
    found = heard(book(story))
    expected = {b.id for b in story if b.text in texts[:dropped]}
    assert found.excluded == expected
    assert all("announced" in r or "signed" in r for r in _reasons(found))


def test_an_announced_letter_stays_where_no_persona_is_known() -> None:
    story = chapter("The Speech", MINE, "A paper said:—", REPORT, start=70)
    assert not heard(book(story), names=()).excluded
