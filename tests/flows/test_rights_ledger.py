"""The ledger: rights found, told and checked; sources withdrawn and taken back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from memoirist.data.provenance.rights import checked, obstacles, said_in
from memoirist.data.schema.errors import RecipeError, SourceMissing
from memoirist.data.schema.records import Source
from memoirist.flows.recipe import load
from memoirist.flows.rights_ledger import (
    find_source,
    ledger,
    note_rights,
    restore,
    withdraw,
)
from memoirist.flows.runtime.context import Context
from memoirist.flows.runtime.report import Report
from memoirist.flows.runtime.workspace import Workspace
from memoirist.flows.steps.curate import curate_pairs
from memoirist.flows.steps.split import split_documents
from tests.conftest import Command
from tests.flows.test_changed_sources import book, steps
from tests.support.rows import NOW, source


@pytest.fixture
def context(tmp_path: Path) -> Context:
    (tmp_path / "books").mkdir()
    (tmp_path / "books" / "one.md").write_text(book(), "utf-8")
    (tmp_path / "books" / "two.md").write_text(book(first=40, title="Bread"), "utf-8")
    wanted = {"persona.name": "Ada", "passages.group_passages": 2}
    return Context(Workspace(tmp_path / "ws"), load(None, wanted), Report(quiet=True))


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        ("public-domain:us", "public-domain:US"),
        ("License: CC-BY-4.0", "licence:CC-BY-4.0"),
        ("Own-Work", "own-work"),
        (
            "permission: Ann Marsh, letter of 2026-01-02",
            "permission:Ann Marsh, letter of 2026-01-02",
        ),
        ("unknown", "unknown"),
    ],
)
def test_rights_have_one_spelling(told: str, wanted: str) -> None:
    assert checked(told) == wanted


@pytest.mark.parametrize("told", ["", "mine", "public-domain", "licence:", "permission:"])
def test_odd_rights_are_refused_in_one_line(told: str) -> None:
    with pytest.raises(
        RecipeError, match=r"unknown form of rights: .*; give public-domain:COUNTRY"
    ):
        checked(told)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("https://creativecommons.org/licenses/by-sa/4.0/", "licence:CC-BY-SA-4.0"),
        ("Released under CC BY-NC 4.0 by the author.", "licence:CC-BY-NC-4.0"),
        ("creativecommons.org/publicdomain/zero/1.0/", "licence:CC0-1.0"),
        (
            "The Project Gutenberg EBook of A. This eBook is for the use of anyone anywhere",
            "public-domain:US",
        ),
        ("All rights reserved.", None),
        ("He spoke of Project Gutenberg for an hour.", None),
        ("", None),
    ],
)
def test_a_source_may_say_its_rights_itself(words: str, wanted: str | None) -> None:
    assert said_in(words) == wanted


def test_what_stands_against_a_push() -> None:
    def reasons(**told: object) -> list[str]:
        return [each.reason for each in obstacles([replace(source(), **told)])]  # type: ignore[arg-type]

    assert reasons() == ["its rights are unknown"]
    assert reasons(rights="own-work", living=True) == []
    assert reasons(rights="licence:CC-BY-4.0") == []
    assert "does not allow derived works" in reasons(rights="licence:CC-BY-ND-4.0")[0]
    assert "consent" in reasons(rights="licence:CC-BY-4.0", living=True)[0]
    assert reasons(rights="licence:CC-BY-4.0", living=True, consent="Ann, 2026") == []
    assert reasons(withdrawn_at=NOW) == []
    assert reasons(sha256="") == []  # nothing was read of it


def test_a_source_is_found_by_every_name(context: Context, tmp_path: Path) -> None:
    steps(context, tmp_path / "books")
    store = context.workspace.store
    one = find_source(store, "one.md")
    assert find_source(store, str(tmp_path / "books" / "one.md")) == one
    assert find_source(store, one.id[:6]) == one
    note_rights(context, "one.md", {"title": "One Life"})
    assert find_source(store, "ONE life").id == one.id
    with pytest.raises(SourceMissing, match=r"its sources: one\.md, two\.md"):
        find_source(store, "three.md")


def test_the_users_word_stays_when_the_file_changes(context: Context, tmp_path: Path) -> None:
    steps(context, tmp_path / "books")
    note_rights(context, "one.md", {"rights": "own-work", "title": "My Life", "living": True})
    before = context.workspace.store.rows("SELECT id FROM documents ORDER BY id")
    (tmp_path / "books" / "one.md").write_text(book().replace("half of his", "all of his"), "utf-8")
    steps(context, tmp_path / "books")
    one = find_source(context.workspace.store, "one.md")
    assert (one.rights, one.title, one.living) == ("own-work", "My Life", True)
    assert context.workspace.store.rows("SELECT id FROM documents ORDER BY id") == before
    assert "own-work" in str(ledger(context.workspace.store).rows)


def test_the_recipe_tells_rights_by_pattern(context: Context, tmp_path: Path) -> None:
    entry = {"source": "*/two.md", "rights": "public-domain:GB", "author": "A. Marsh"}
    wanted = {"persona.name": "Ada", "sources.ledger": [entry]}
    told = Context(context.workspace, load(None, wanted), Report(quiet=True))
    steps(told, tmp_path / "books")
    two = find_source(told.workspace.store, "two.md")
    assert (two.rights, two.author, two.rights_basis) == (
        "public-domain:GB",
        "A. Marsh",
        "the user",
    )
    assert find_source(told.workspace.store, "one.md").rights == "unknown"
    with pytest.raises(RecipeError, match="unknown form"):
        load(None, {"sources.ledger": [{"source": "*", "rights": "mine"}]})


def test_a_withdrawn_source_is_in_nothing_composed_next(context: Context, tmp_path: Path) -> None:
    steps(context, tmp_path / "books")
    store = context.workspace.store
    all_pairs = store.value("SELECT count(*) FROM kept")
    withdraw(context, ["two.md"])
    withdraw(context, ["two.md"])  # twice is once
    steps(context, tmp_path / "books")
    newest = "(SELECT dataset_id FROM lineage ORDER BY (SELECT used_at FROM datasets d WHERE"
    newest += " d.id = dataset_id) DESC LIMIT 1)"
    one, two = (find_source(store, name).id for name in ("one.md", "two.md"))
    left = store.rows(f"SELECT DISTINCT source_id FROM lineage WHERE dataset_id = {newest}")
    assert left == [{"source_id": one}]
    told = store.rows("FROM coverage WHERE source_id = ? ORDER BY subject", [two])
    assert {row["subject"] for row in told} == {
        "sources",
        "documents",
        "blocks",
        "passages",
        "pairs",
    }
    assert all(row["kept"] == 0 and row["found"] == row["dropped"] for row in told)
    assert store.value("SELECT rule FROM dropped WHERE subject = 'sources'") == "withdrawn"
    restore(context, ["two.md"])
    steps(context, tmp_path / "books")
    assert store.value("SELECT count(*) FROM kept") == all_pairs
    assert store.value("SELECT count(*) FROM verdicts WHERE rule = 'withdrawn'") == 0


def test_a_withdrawn_source_beats_no_duplicate(context: Context, tmp_path: Path) -> None:
    (tmp_path / "books" / "two.md").write_text(book() + "\n\nAnd more.\n", "utf-8")
    steps(context, tmp_path / "books")
    store = context.workspace.store
    kept = store.value("SELECT count(*) FROM kept")
    withdraw(context, ["one.md"])
    steps(context, tmp_path / "books")
    assert store.value("SELECT count(*) FROM kept") == kept
    two = find_source(store, "two.md").id
    assert store.rows("SELECT DISTINCT source_id FROM kept") == [{"source_id": two}]


def test_another_source_withdrawn_is_judged_by_the_gates_again(
    context: Context, tmp_path: Path
) -> None:
    steps(context, tmp_path / "books")
    store, gates = context.workspace.store, context.recipe.curate.gates
    withdraw(context, ["one.md"])
    gates.min_letter_share = 0.9
    split_documents(context)
    restore(context, ["one.md"])
    withdraw(context, ["two.md"])
    split_documents(context)
    gated = "SELECT count(*) FROM verdicts WHERE rule = 'few_letters' AND source_id = ?"
    assert store.value(gated, find_source(store, "one.md").id) == 12


def test_a_pair_comes_back_when_the_source_of_its_winner_is_withdrawn(
    context: Context, tmp_path: Path
) -> None:
    answer = book().split("\n\n")[3].replace("laughed", "smiled")
    rows = tmp_path / "books" / "rows.jsonl"
    rows.write_text(json.dumps({"question": "What do you remember?", "answer": answer}), "utf-8")
    steps(context, tmp_path / "books")
    store = context.workspace.store
    (loser,) = store.rows("SELECT subject_id AS id FROM verdicts WHERE step = 'dedupe'")
    assert loser not in store.rows("SELECT id FROM kept")
    withdraw(context, ["rows.jsonl"])
    curate_pairs(context)
    assert loser in store.rows("SELECT id FROM kept")


def test_a_file_gone_from_its_folder_is_told_and_keeps_its_rows(
    context: Context, tmp_path: Path
) -> None:
    steps(context, tmp_path / "books")
    store = context.workspace.store
    passages = store.value("SELECT count(*) FROM passages")
    gone = find_source(store, "two.md")
    (tmp_path / "books" / "two.md").unlink()
    steps(context, tmp_path / "books")
    assert store.value("SELECT count(*) FROM passages") == passages
    dropped = store.rows("SELECT rule, next_step FROM dropped WHERE subject = 'sources'")
    assert dropped == [
        {
            "rule": "source_missing",
            "next_step": f"put it back, or leave it out: `memoirist withdraw {gone.id}`",
        }
    ]


@pytest.mark.medium
def test_the_commands(memoirist: Command, tmp_path: Path) -> None:
    (tmp_path / "one.md").write_text(book(), "utf-8")
    (tmp_path / "scan.pdf").write_bytes(b"%PDF-1.4\n" + bytes(range(256)))
    extracted = memoirist("extract", "one.md", "scan.pdf", "--persona", "Ada")
    (warned,) = [line for line in extracted.stderr.splitlines() if "rights are unknown" in line]
    assert "Scan" not in warned
    assert "scan.pdf" in extracted.stderr
    assert memoirist("withdraw", "scan.pdf").returncode == 0
    assert memoirist("rights", "--check").returncode == 1
    odd = memoirist("rights", "one.md", "--rights", "mine")
    assert odd.returncode == 1
    assert len(odd.stderr.splitlines()) == 1
    told = memoirist("rights", "one.md", "--rights", "own-work")
    assert told.returncode == 0, told.stderr
    shown = memoirist("rights", "--check")
    assert shown.returncode == 0
    assert "own-work" in shown.stdout
    assert "unknown" not in memoirist("extract").stderr
    for step in ("ask", "curate", "compose"):
        assert memoirist(step).returncode == 0
    assert memoirist("export", "-o", "before.jsonl").returncode == 0
    gone = memoirist("withdraw", "one.md")
    assert gone.returncode == 0, gone.stderr
    for stale in (("export", "-o", "after.jsonl"), ("train",)):
        refused = memoirist(*stale)
        assert refused.returncode == 1
        assert "contains sources that have been withdrawn since" in refused.stderr
    assert not (tmp_path / "after.jsonl").exists()
    assert "withdraw --undo" in memoirist("extract").stderr
    assert memoirist("withdraw", "nothing.md").returncode == 1


def test_an_older_workspace_gets_its_new_columns(context: Context, tmp_path: Path) -> None:
    with context.workspace.store.writing() as tx:
        for column in ("living", "consent", "rights_basis"):
            tx.execute("DROP VIEW IF EXISTS lineage")
            tx.execute(f"ALTER TABLE sources DROP COLUMN {column}")
        tx.execute("DELETE FROM migrations WHERE name = '007_rights.sql'")
    fresh = Context(Workspace(tmp_path / "ws"), context.recipe, Report(quiet=True))
    with fresh.workspace.lock():
        assert fresh.workspace.store.nouns(Source) == []
