"""Personal data: what is masked, what only looks like it, and that nothing of it is learnt."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from memoirist.data.text.personal_data import CANDIDATE, candidate, mask
from tests.conftest import Command

MASKED = [
    ("Write to ann.b+x@example.co.uk.", "en", "Write to [e-mail]."),
    ("Call (202) 555-0143 or +44 20 7946 0958.", "en", "Call [phone] or [phone]."),
    ("My card is 4111 1111 1111 1111, ask for it.", "en", "My card is [card], ask for it."),
    ("IBAN DE89 3704 0044 0532 0130 00, bitte.", "de", "IBAN [account], bitte."),
    ("Tel. 030 901820, abends", "de", "Tel. [phone], abends"),
    ("appelez le 01 42 68 53 00 ce soir", "fr", "appelez le [phone] ce soir"),
    ("llame al 912 345 678 mañana", "es", "llame al [phone] mañana"),
    (
        "我的手机是13812345678，账号：6222020200112233445。",
        "zh",
        "我的手机是[phone]，账号：[account]。",
    ),
    ("my account number is 12345678", "en", "my account number is [account]"),
]
LEFT = [
    ("In 1861-1865 there were 120,000 men and 1 000 000 dollars.", "en"),
    ("ISBN 978-0-306-40615-7, printed 1938 10 12, at 12:30:40", "en"),
    ("1234 5678 9012 3456 has no check digit", "en"),
    ("am 12.10.1938 um 10.30 Uhr, S. 1789-1793", "de"),
    ("GB00 WEST 1234 5698 7654 32 is no account", "en"),
    ("We met @ noon on the 4th of July 1776.", "en"),
    ("", "en"),
]


@pytest.mark.parametrize(("text", "lang", "wanted"), MASKED)
def test_personal_data_is_masked(text: str, lang: str, wanted: str) -> None:
    masked, found = mask(text, lang)
    assert masked == wanted
    assert found.total() == wanted.count("[")


@pytest.mark.parametrize(("text", "lang"), LEFT)
def test_dates_ranges_and_counts_stay(text: str, lang: str) -> None:
    assert mask(text, lang) == (text, {})


@pytest.mark.parametrize(("text", "lang", "wanted"), MASKED)
def test_the_quick_look_misses_nothing(text: str, lang: str, wanted: str) -> None:
    asked = duckdb.execute("SELECT regexp_matches(?, ?)", [text, CANDIDATE]).fetchone()
    assert asked == (True,), (lang, wanted)
    closer = duckdb.execute("SELECT regexp_matches(?, ?)", [text, candidate(lang)]).fetchone()
    assert closer == (True,), (lang, wanted)


def test_no_passage_holds_it_and_coverage_counts_it(tmp_path: Path, memoirist: Command) -> None:
    told = "I kept a shop by the river for thirty years, and every morning I opened it myself. "
    book = f"# One\n\n{told * 6}Write to me at old.shop@example.org, I answer.\n"
    (tmp_path / "letters.md").write_text(book)
    extracted = memoirist("extract", "letters.md", "--persona", "Ann Marsh")
    assert extracted.returncode == 0, extracted.stderr
    texts = memoirist("sql", "SELECT text FROM passages", "--format", "json").stdout
    assert "[e-mail]" in texts
    assert "old.shop" not in texts
    assert "masked_email 1" in memoirist("look", "coverage", "--format", "json").stdout
    kept = memoirist("extract", "--set", "passages.mask_personal=false")
    assert kept.returncode == 0, kept.stderr
    assert "old.shop" in memoirist("sql", "SELECT text FROM passages", "--format", "json").stdout
