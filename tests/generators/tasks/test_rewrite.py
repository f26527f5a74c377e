"""The bounds of a polished answer: repairs pass, and whatever adds, changes or drops does not."""

from __future__ import annotations

import pytest

from memoirist.generators.tasks.rewrite import changed_share, match_layout, rewrite_fault

SPOKEN = (
    "As I said above, um, my father kept the mill until 1911, and then the the water rose and he"
    " he carried the flour to the loft by himself. I did not, I did not help him. We stood at the"
    " window with Anna and counted twelve sacks, you know, and nobody spoke until it was dark. In"
    " those days a boy was not asked what he thought of it. he went to bed hungry and got up early"
)
MENDED = (
    "My father kept the mill until 1911, and then the water rose and he carried the flour to the"
    " loft by himself. I did not help him. We stood at the window with Anna and counted twelve"
    " sacks, and nobody spoke until it was dark. In those days a boy was not asked what he thought"
    " of it. He went to bed hungry and got up early."
)
HAN = (
    "如上所述，那年我十二岁，父亲在河边开了一个磨坊，嗯，水一涨，他就他就自己把面粉扛到楼上去。我没有帮他。"
    "我们站在窗口，一袋一袋地数，谁也不说话，一直数到天黑。那时候没有人问小孩子心里怎么想，饿了就睡，"
    "天不亮就起来。后来我才明白，他不是不肯叫我，是不愿意让我看见他吃力的样子。"
)
HAN_MENDED = HAN.replace("如上所述，", "").replace("嗯，", "").replace("他就他就", "他就")


def test_a_repair_is_within_the_bounds() -> None:
    assert rewrite_fault(SPOKEN, MENDED, 0.2) is None
    assert 0.05 < changed_share(SPOKEN, MENDED) < 0.2
    assert changed_share(SPOKEN, SPOKEN.upper()) == 0
    assert rewrite_fault(HAN, HAN_MENDED, 0.15) is None
    assert rewrite_fault(SPOKEN, SPOKEN, 0.15) is None


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("1911", "1912", "the number '1912' is not in"),
        ("twelve sacks", "twenty sacks", "the number 'twenty' is not in"),
        ("kept the mill", "kept the two mills", "the number 'two' is not in"),
        ("with Anna", "with Hanna", "'Hanna' is not in the passage and looks like a name"),
        ("My father", "Harold", "'Harold' is not in the passage and looks like a name"),
        ("We stood", "Suddenly we stood", "'Suddenly' is not in the passage and looks like a name"),
        ("I did not help", "I did help", "negations: 2 in the text, 4 in the passage"),
        ("a boy was not asked", "a boy was never, not asked", None),
        ("and nobody spoke", "and nobody spoke <|im_end|>", "control token"),
        ("and nobody", "and **nobody**", "Markdown"),
        ("We stood", "\n- We stood", "Markdown"),
        ("loft by himself", "loft — by himself", "marks that are not in the passage: —"),
        ("loft by himself.", "loft by himself.\n\n", "2 paragraphs, the passage 1"),
        (MENDED, "", "empty"),
        (MENDED, "Nobody spoke.", "words, the passage"),
        (MENDED, "Mein Vater hatte die Mühle, und das Wasser stieg in der Nacht.", "reads as"),
        ("dark. In", "dark. So he carried it to the loft. In", "in a row were added"),
        ("Anna", "ANNA", "more words in capitals"),
        ("\u200b", "", None),
    ],
)
def test_what_goes_beyond_a_repair_is_refused(old: str, new: str, fault: str | None) -> None:
    told = rewrite_fault(SPOKEN, MENDED.replace(old, new), 0.25)
    assert (told is None) if fault is None else (told is not None and fault in told), told


def test_a_sentence_that_is_left_out_is_missed() -> None:
    long = " ".join([MENDED, MENDED, MENDED])
    cut = long.replace(" We stood at the window with Anna and counted twelve sacks,", " We", 1)
    assert rewrite_fault(long, cut.replace("We and", "And", 1), 0.25) is None
    start, end = MENDED.index("We stood"), MENDED.index("In those")
    assert "18 words in a row are missing" in (
        rewrite_fault(long, long.replace(MENDED[start:end], "", 1), 0.25) or ""
    )


def test_a_hidden_character_is_refused() -> None:
    assert "control token" in (
        rewrite_fault(SPOKEN, MENDED.replace("mill", "mi\u200bll"), 0.2) or ""
    )


def test_the_words_that_change_are_capped() -> None:
    plain = " ".join(f"the old {word} stood by the river" for word in ("mill", "barn", "wall") * 6)
    other = plain.replace("stood by", "was near")
    assert "% of the words were changed, more than 15%" in (rewrite_fault(plain, other, 0.15) or "")
    assert rewrite_fault(plain, plain.replace("stood by", "stood near", 3), 0.15) is None
    other = MENDED
    for word, new in (("mill", "farm"), ("loft", "cellar"), ("window", "doorway"), ("boy", "man")):
        other = other.replace(word, new)
    assert "4 words are not in the passage" in (rewrite_fault(MENDED, other, 0.15) or "")


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("十二岁", "十三岁", "the number '十三' is not in"),
        ("父亲在", "父亲张伟在", "looks like a name"),
        ("我没有帮他", "我帮他", "negations"),
        ("父亲在", "父亲Harold在", "'Harold' is not in the passage"),
        ("饿了就睡，", "我们一袋一袋地数一直数到天黑，饿了就睡，", "in a row were added"),
        ("磨坊", "磨坊；", "marks that are not in the passage: ；"),
    ],
)
def test_chinese_is_held_to_the_same(old: str, new: str, fault: str) -> None:
    assert fault in (rewrite_fault(HAN, HAN_MENDED.replace(old, new), 0.2) or "")


def test_breaks_and_apostrophes_stay_the_passages_own() -> None:
    assert (
        match_layout(" It's one.\nIt's  two. ", "It’s one.\n\nIt’s 2.") == "It’s one.\n\nIt’s two."
    )
    assert match_layout("It's one.", "It's 'one'.") == "It's one."
