"""Words, sentences, languages, neutralising."""

from __future__ import annotations

import pytest

from memoirist.data.store.store import Store
from memoirist.data.text import language_detection, sanitizer, words
from memoirist.data.text.word_overlap import longest_shared_run
from tests.support.chat_tokens import LINES, TOKENS


@pytest.mark.parametrize("token", TOKENS)
def test_control_tokens_are_defused(token: str) -> None:
    before = f"He wrote {token} and went on."
    after = sanitizer.neutralise(before)
    assert sanitizer.has_control(before)
    assert not sanitizer.has_control(after)
    assert "<" not in after
    assert "[" not in after
    assert after.startswith("He wrote ")
    assert after.endswith(" and went on.")


@pytest.mark.parametrize("line", LINES)
def test_headings_of_formats_are_defused(line: str) -> None:
    before = f"He wrote:\n{line}\nand # went on."
    after = sanitizer.neutralise(before)
    assert sanitizer.has_control(before)
    assert not sanitizer.has_control(after)
    assert "##" not in after
    assert "# went on" in after


def test_the_store_knows_the_same_tokens(store: Store) -> None:
    prose = [
        "He said [sic] that 1 < 2 > 0.", "A heading: ### Rivers of the north", "[audio] [pad]",
        "x << y >> z", "See [1], [2|3] and <em>this</em>.", ">> Yes. >> No.", "a | b | c",
        "the ##hash and ### Response to critics", "[music] [laughs] [think]", "<3 <b> <i>s</i>",
    ]  # fmt: skip
    texts = [f"He wrote {token} and" for token in TOKENS] + [f"x\n{each}" for each in LINES] + prose
    with store.writing() as tx:
        found = [bool(tx.fetch("SELECT has_control(?)", [each])[0][0]) for each in texts]
    assert found == [sanitizer.has_control(each) for each in texts]
    assert not any(found[-len(prose) :])
    assert all(sanitizer.neutralise(each) == each for each in prose)


def test_neutralise_leaves_prose_alone() -> None:
    prose = "If a < b [sic], then “b > a”; 5 < 6. مرحبا\u200cبك [1] <em>no</em>"
    assert sanitizer.neutralise(prose) == prose


def test_neutralise_takes_out_what_cannot_be_seen() -> None:
    assert sanitizer.neutralise("a\u202eb\u200bc\ufeffd\x00e") == "abcde"


def test_words_and_counts() -> None:
    assert words.words("Don’t stop, it's well-kept.") == ["don't", "stop", "it's", "well-kept"]
    assert words.words("我学会了 QLoRA 吗") == ["我", "学", "会", "了", "qlora", "吗"]
    assert words.count_words("") == 0


def test_sentences() -> None:
    found = words.sentences("Mr. Grant said: “Go on.” Then he left! Was it 3 p.m. or later? Yes")
    assert found == [
        "Mr. Grant said: “Go on.”",
        "Then he left!",
        "Was it 3 p.m. or later?",
        "Yes",
    ]
    assert words.sentences("他走了。“好！”她说。") == ["他走了。", "“好！”", "她说。"]


def test_spans_of_sentences_end_with_their_paragraph() -> None:
    text = " The mill. The\nroad\n \nIt rained. The mill.\n"
    spans = words.sentence_spans(text)
    assert [text[start:end] for start, end in spans] == [
        "The mill.", "The\nroad", "It rained.", "The mill."
    ]  # fmt: skip
    assert spans[-1] == (len(text) - 10, len(text) - 1)


@pytest.mark.parametrize(
    ("sample", "lang"),
    [
        ("The general and his men went to the river in the night, and it was cold.", "en"),
        ("Der General ging mit den Männern in der Nacht zu dem Fluss, und es war kalt.", "de"),
        ("Le général est allé avec les hommes dans la nuit vers la rivière.", "fr"),
        ("El general se fue con los hombres en la noche por el río, y no había luz.", "es"),
        ("将军夜里带人到河边去了，天很冷。", "zh"),
        ("", "und"),
    ],
)
def test_detect_language(sample: str, lang: str) -> None:
    assert language_detection.detect_language(sample) == lang


def test_ends_sentence_accepts_closing_quotes_and_no_colon() -> None:
    assert words.ends_sentence("He left.”")
    assert words.ends_sentence("走了。」")
    assert not words.ends_sentence("as follows:")
    assert not words.ends_sentence("and then")


def test_longest_shared_run() -> None:
    assert longest_shared_run(["a", "b", "c", "d", "e"], ["x", "b", "c", "d", "y"]) == 3
    assert longest_shared_run(["b", "a", "b", "c"], ["b", "c", "a", "b"]) == 2
    assert longest_shared_run(["ab", "c"], ["a", "bc", "c"]) == 1  # words, not letters
    assert longest_shared_run([], ["a"]) == 0
