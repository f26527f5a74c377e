"""`look outline`: the decision per chapter, and the recipe's word on chapters."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from memoirist.data.samples import PERSONA, SOURCES
from memoirist.data.text.words import count_words
from tests.conftest import Command

BOOK = [
    chapter.strip()
    for chapter in Path(SOURCES[0]).with_suffix(".md").read_text("utf-8").split("\n## ")
]
FIRST, SECOND, THIRD = (f"## {chapter}" for chapter in BOOK[1:4])


@pytest.fixture
def memoir(tmp_path: Path) -> Path:
    preface = "# Editor's Preface\n\nThis volume needs no praise from us. It speaks for itself."
    chronology = "# Chronology\n\nBorn in 1939. The fine, 1948. The office opened in 1956."
    path = tmp_path / "memoir.md"
    path.write_text("\n\n".join([preface, FIRST, SECOND, THIRD, chronology]), "utf-8")
    return path


def _outline(memoirist: Command, *arguments: str) -> dict[str, dict[str, object]]:
    done = memoirist("look", "outline", *arguments, "--format", "json")
    assert done.returncode == 0, done.stderr
    return {row["chapter"]: row for row in json.loads(done.stdout)}


def test_the_outline_shows_every_chapter_and_the_decision(memoirist: Command, memoir: Path) -> None:
    done = memoirist("extract", str(memoir), "--persona", PERSONA)
    assert done.returncode == 0, done.stderr
    rows = _outline(memoirist)
    assert list(rows) == [
        "Editor's Preface",
        "1. The Thumb",
        "2. Flour Enough",
        "3. Salt Street",
        "Chronology",
    ]
    assert rows["Editor's Preface"]["decision"] == "dropped: other_voice"
    assert "titled" in str(rows["Editor's Preface"]["reason"])
    assert rows["Chronology"]["kept"] == 0
    assert rows["2. Flour Enough"]["decision"] == "kept"
    assert rows["2. Flour Enough"]["words"] == count_words(SECOND.partition("\n")[2])
    assert int(str(rows["2. Flour Enough"]["kept"])) > 0
    assert _outline(memoirist, "memoir") == rows
    done = memoirist("look", "outline")
    assert "Editor's Preface" in done.stdout
    done = memoirist("look", "outline", "nobody")
    assert done.returncode == 1
    assert "nobody" in done.stderr
    assert "emoir" in done.stderr


def test_the_recipe_has_the_last_word_and_a_pattern_that_fits_nothing_is_told(
    memoirist: Command, memoir: Path
) -> None:
    arguments = ["extract", str(memoir), "--persona", PERSONA]
    done = memoirist(
        *arguments,
        "--include-chapter",
        "editor's",
        "--exclude-chapter",
        "memoir.md: 2. fl*",
        "--exclude-chapter",
        "Prefece",
    )
    assert done.returncode == 0, done.stderr
    assert "'Prefece' matches no chapter; the nearest: \"Editor's Preface\"" in done.stderr
    rows = _outline(memoirist)
    assert rows["Editor's Preface"]["decision"] == "kept by your recipe"
    assert rows["2. Flour Enough"]["decision"] == "dropped by your recipe"
    assert rows["2. Flour Enough"]["kept"] == 0
    assert rows["3. Salt Street"]["decision"] == "kept"
    # The choice is saved with the workspace's recipe, and can be taken back.
    assert memoirist(*arguments).returncode == 0
    assert _outline(memoirist) == rows
    assert memoirist(*arguments, "--set", "passages.voice=false").returncode == 0
    done = memoirist(*arguments, "--set", "sources.chapters.exclude=[]")
    assert done.returncode == 0, done.stderr
    assert "matches no chapter" not in done.stderr
    rows = _outline(memoirist)
    assert rows["2. Flour Enough"]["decision"] == "kept"
    assert str(rows["Chronology"]["decision"]).startswith("no passage")


def test_why_leads_from_a_source_and_a_document_to_what_they_gave(
    memoirist: Command, memoir: Path
) -> None:
    assert memoirist("extract", str(memoir), "--persona", PERSONA).returncode == 0
    query = "SELECT s.id, d.id FROM sources s JOIN documents d ON d.source_id = s.id"
    done = memoirist("sql", query, "--format", "csv")
    source, document = done.stdout.splitlines()[1].split(",")
    told = memoirist("look", "why", source).stdout
    assert str(memoir) in told.replace("\n", "").replace(" ", "")
    assert "found" in told
    assert "other_voice" in told
    told = memoirist("look", "why", document).stdout
    assert "paragraph" in told
    assert "en" in told


def test_a_source_without_a_passage_says_why_and_what_to_do(
    memoirist: Command, memoir: Path, tmp_path: Path
) -> None:
    short = tmp_path / "short.md"
    short.write_text("# A Word\n\nI was ten when my father gave me the key.\n", "utf-8")
    done = memoirist("extract", str(memoir), str(short), "--persona", PERSONA)
    assert done.returncode == 0, done.stderr
    assert "gives no passage: 1 of 2 blocks dropped by 'too_short'" in done.stderr
    assert "passages.min_words" in done.stderr


def test_a_mark_is_shown_with_its_own_chapter(memoirist: Command, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(
        "<html><body><p class='imprint copyright'>Copyright 1990 by the press.</p>"
        "<h1>Foreword</h1><p>It was dry. "
        + "The mill stood on the left bank and had three wheels. " * 12
        + "</p><h1>One</h1><p>"
        + "I went down to the mill with my father, and I carried my own sack of flour. " * 40
        + "</p></body></html>",
        "utf-8",
    )
    assert memoirist("extract", "page.html", "--persona", "Ada Marrow").returncode == 0
    rows = _outline(memoirist)
    assert rows["Foreword"]["decision"] == "kept, but doubtful"
    assert "titled 'Foreword'" in str(rows["Foreword"]["reason"])
    assert [row["reason"] for name, row in rows.items() if name != "Foreword"] == [""] * (
        len(rows) - 1
    )
