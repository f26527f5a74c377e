"""Chinese without a single mark: paragraphs end where sentences do, and nothing else is guessed."""

from __future__ import annotations

from memoirist.data.passages.segmentation import is_unmarked, split_prose, unmarked_chapters
from memoirist.data.passages.settings import PassageSettings
from memoirist.data.schema.records import Block, Rows
from memoirist.data.text.words import ends_sentence
from tests.support.curation import gated, judged
from tests.support.rows import NOW, block, document, pair, passage

CLAUSES = (
    "昔年我家住在河東每日看船來船去",
    "父親常說水是路船是腳人是客",
    "我那時年紀尚小不懂這話的意思",
    "後來父親去世我才漸漸明白過來",
    "鄰家有一位老塾師愛與小兒說古",
    "他教我讀書寫字卻從來不收束脩",
    "冬夜裏雪落在瓦上聲音細得像蠶食葉",
    "母親在燈下補衣我便在旁邊念書給她聽",
    "一日河水大漲渡口的老柳樹倒了半邊",
    "眾人都說那是不祥獨有母親不信",
    "她說樹老自倒與人何干且將它劈作柴火",
    "我如今也到了父親那時的年紀",
)


def told(n: int, clauses: int = 8) -> str:
    """Return a paragraph of some 120 characters without a mark, of its own length for each n."""
    picked = [CLAUSES[(n * 5 + k * 7) % len(CLAUSES)] for k in range(clauses)]
    return f"第{'一二三四五六七八九'[n % 9]}件事" + "".join(picked) + "矣" * (n % 7)


def split(texts: list[str], **settings: int) -> Rows:
    blocks = [block(n, text, chapter="第一回") for n, text in enumerate(texts)]
    return split_prose(document(), blocks, PassageSettings(**settings), NOW)


def test_passages_end_where_unmarked_paragraphs_end() -> None:
    texts = [told(n) for n in range(6)]
    rows = split(texts)
    assert len(rows.passages) > 1
    assert "\n\n".join(each.text for each in rows.passages) == "\n\n".join(texts)
    (verdict,) = rows.verdicts
    assert (verdict.rule, verdict.keep, verdict.subject) == ("unpunctuated", True, "documents")


def test_a_marked_book_keeps_to_its_marks() -> None:
    texts = [told(n).replace("我", "。我") for n in range(6)]
    rows = split(texts)
    assert all(ends_sentence(passage.text) for passage in rows.passages)
    assert "unpunctuated" not in {verdict.rule for verdict in rows.verdicts}


def test_other_languages_and_short_texts_are_never_unmarked() -> None:
    assert is_unmarked(told(0))
    assert not is_unmarked("the river rose above the mill and nobody said a word " * 10)
    assert not is_unmarked(CLAUSES[0])
    assert is_unmarked("".join(told(n) for n in range(3)) + "。")
    assert not is_unmarked(told(0) + "。")


def test_one_chapter_may_lack_marks_alone() -> None:
    blocks: list[Block] = [
        block(0, told(0), chapter="上"),
        block(1, told(1) + "。" + told(2) + "！", chapter="下"),
    ]
    assert unmarked_chapters(blocks) == {"上"}


def test_strips_of_one_length_end_nothing() -> None:
    whole = "".join(told(n) for n in range(9))
    strips = [whole[n : n + 90] for n in range(0, len(whole), 90)]
    rows = split(strips)
    assert all(ends_sentence(passage.text) for passage in rows.passages)
    assert "unpunctuated" not in {verdict.rule for verdict in rows.verdicts}


def test_a_paragraph_that_can_nowhere_be_cut_is_dropped_with_its_reason() -> None:
    endless = "".join(told(n) for n in range(9)) * 2
    rows = split([told(1), endless, told(2)])
    assert [each.text for each in rows.passages] == [told(1), told(2)]
    (verdict,) = [each for each in rows.verdicts if not each.keep]
    assert verdict.rule == "uncut"
    assert verdict.next_step is not None
    assert "punctuation" in verdict.next_step


def test_short_rests_join_the_paragraph_before() -> None:
    rows = split([told(1), told(2, clauses=2)])
    assert [each.text for each in rows.passages] == [f"{told(1)}\n\n{told(2, clauses=2)}"]
    rows = split([told(1)[:40], told(2)], min_words=80, target_words=120)
    assert len(rows.passages) == 1


def test_gates_and_score_take_an_unmarked_answer() -> None:
    text = told(0, clauses=12)
    verdicts = gated([passage(0, text)], "book", "zh")
    assert [each.rule for each in verdicts if not each.keep] == []
    asked = pair(0, question="您父親說過些什麼？", answer=text, origin="generated")
    scores, _ = judged([asked], "zh")
    assert scores[asked.id]["answer"] == 1.0
