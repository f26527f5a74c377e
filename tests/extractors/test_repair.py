"""The bounded repairs: what is mended, and what is left exactly as it was printed."""

from __future__ import annotations

from collections import Counter

import pytest

from memoirist.extractors.repair import joined, tidy, vocabulary_of

NONE: Counter[str] = Counter()


@pytest.mark.parametrize(
    ("printed", "text"),
    [
        ("the ﬁrst aﬀair of the oﬃce", "the first affair of the office"),
        ("two   words\u00a0here ", "two words here"),
        ("cafe\u0301", "caf\u00e9"),
        ("“Well,” — he said … ½ № ²", "“Well,” — he said … ½ № ²"),
    ],
)
def test_tidy(printed: str, text: str) -> None:
    assert tidy(printed) == text


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (["the remark-", "able man"], "the remarkable man"),
        (["soft hy\u00ad", "phen in\u00adside"], "soft hyphen inside"),
        (["marked\ufffe", "words"], "markedwords"),
        (["a pause—", "then more"], "a pause—then more"),
        (["from 1838-", "9 onwards"], "from 1838-9 onwards"),
        (["self-", "confidence grew"], "self-confidence grew"),
        (["the end.", "The start"], "the end. The start"),
        (["名叫「鬼畫符」", "雖然"], "名叫「鬼畫符」雖然"),
    ],
)
def test_joined_lines(lines: list[str], text: str) -> None:
    assert joined(lines, NONE) == text


def test_the_documents_own_words_decide_on_the_hyphen() -> None:
    words = vocabulary_of(["a school-master came", "the headmaster and a darning needle"])
    assert joined(["his school-", "master"], words) == "his school-master"
    assert joined(["the head-", "master"], words) == "the headmaster"
    assert joined(["a darning-", "needle"], words) == "a darning-needle"
    assert joined(["no-", "where"], vocabulary_of(["no one knew where"])) == "nowhere"


def test_broken_words_do_not_vouch_for_themselves() -> None:
    words = vocabulary_of(["it was remark-", "able and clear"])
    assert set(words) == {"it", "was", "and", "clear"}


FRENCH = vocabulary_of(
    ["les gens sont là, dit la mère, les uns disent tout, peut être, et parle tant", "est ce à lui"]
)


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (["viens, dit-", "il sans rire"], "viens, dit-il sans rire"),
        (["cela peut-", "être vrai"], "cela peut-être vrai"),
        (["c'est-à-", "dire rien"], "c'est-à-dire rien"),
        (["y a-t-", "elle"], "y a-t-elle"),
        (["la cha-", "pelle"], "la chapelle"),
        (["Jean-", "Baptiste"], "Jean-Baptiste"),
        (["in Schwarz-", "Weiß gedruckt"], "in Schwarz-Weiß gedruckt"),
        (["THE MOUN-", "TAIN"], "THE MOUNTAIN"),
    ],
)
def test_hyphens_that_belong_to_the_word_stay(lines: list[str], text: str) -> None:
    assert joined(lines, FRENCH) == text
