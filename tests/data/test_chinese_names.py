"""A Chinese name is one name in traditional and in simplified characters."""

from __future__ import annotations

import subprocess
import sys

import pytest

from memoirist.data.authorship.signatures import count_mentions, is_persona, names_of
from memoirist.data.text.language_rules import language
from memoirist.data.text.words import has_han, simplified
from memoirist.data.transcripts.speakers import find_persona, is_called, renamed
from tests.support.rows import block


def test_only_chinese_is_converted() -> None:
    assert simplified("魯迅與周樹人") == "鲁迅与周树人"
    assert simplified("鲁迅") == "鲁迅"
    for text in ("Ada Marrow", "Márquez", "", "たなか"):
        assert simplified(text) == text
        assert not has_han(text)


@pytest.mark.parametrize(("label", "name"), [("魯迅", "鲁迅"), ("鲁迅先生", "魯迅")])
def test_a_speaker_is_found_in_either_script(label: str, name: str) -> None:
    turns = [
        block(0, "您為什麼寫小說？", kind="turn", speaker="主持人"),
        block(1, "我也說不清楚。", kind="turn", speaker=label),
    ]
    assert find_persona(turns, [name]) == label
    assert is_called(label, [name])
    assert [each.speaker for each in renamed(turns, {}, [name])] == ["主持人", name]
    assert find_persona(turns, ["張愛玲"]) is None


@pytest.mark.parametrize(("written", "name"), [("魯迅", "鲁迅"), ("鲁迅", "魯迅")])
def test_signatures_and_mentions_count_in_either_script(written: str, name: str) -> None:
    names = names_of((name,))
    assert is_persona(f"一九二三年{written}記", names)
    assert not is_persona("周作人記", names)
    told = f"{written}生於紹興。人們都說{written}的文章好，周作人也這樣說。"
    assert count_mentions(told, names, language("zh")) == 2
    assert names.surname == name


def test_a_persona_with_an_alias_in_han_is_still_found_by_the_latin_name() -> None:
    names = names_of(("Lu Xun", "魯迅"))
    assert is_persona("Lu Xun", names)
    assert is_persona("鲁迅", names)


def test_nothing_loads_the_converter_for_other_names() -> None:
    code = (
        "import sys; from memoirist.data.transcripts.speakers import is_called;"
        "from memoirist.data.authorship.signatures import names_of;"
        "is_called('Ada', ['Ada']); names_of(('Ada Marrow',)); sys.exit('opencc' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
