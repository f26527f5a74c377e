"""Dataset versions: what compose says of them, what differs, and old ones exported again."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from memoirist.data.schema.errors import NothingToDo, QueryError
from memoirist.data.schema.records import Dataset
from memoirist.flows.inspection import export_dataset
from memoirist.flows.recipe import load
from memoirist.flows.rights_ledger import withdraw
from memoirist.flows.runtime.context import Context
from memoirist.flows.runtime.report import Report
from memoirist.flows.runtime.workspace import Workspace
from memoirist.flows.steps.ask import ask_questions
from memoirist.flows.steps.compose import compose_dataset
from memoirist.flows.steps.curate import curate_pairs
from memoirist.flows.steps.extract import extract_sources
from memoirist.flows.steps.split import split_documents
from memoirist.flows.versions import compare_versions, find_version
from tests.conftest import Command
from tests.data.test_splits import words
from tests.flows.test_changed_sources import book
from tests.support.rows import NOW


class Said(Report):
    """Keeps what is said instead of printing it."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.lines: list[str] = []
        self.log = self.lines.append


@pytest.fixture
def context(tmp_path: Path) -> Context:
    wanted = {"persona.name": "Ada Quill", "persona.lang": "en", "passages.group_passages": 2}
    return Context(Workspace(tmp_path / "workspace"), load(None, wanted), Said())


def lines(context: Context) -> list[str]:
    assert isinstance(context.report, Said)
    return context.report.lines


def row(n: int, **extra: str) -> dict[str, str]:
    return {"question": f"{words(f'q{n}', 9)}?", "answer": f"{words(f'a{n}')}.", **extra}


def keep_duplicates(context: Context) -> None:
    """Leave to the split what curation would drop."""
    limits = context.recipe.curate.duplicates
    limits.min_jaccard = limits.min_containment = limits.min_question_jaccard = 1.0


def add_rows(context: Context, name: str, *rows: dict[str, str]) -> None:
    path = context.workspace.root.parent / name
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    extract_sources(context, [str(path)])


def steps(context: Context) -> Dataset:
    """Run the steps on what was extracted, and return the newest dataset."""
    lines(context).clear()
    context.changed.clear()
    for step in (split_documents, ask_questions, curate_pairs):
        step(context)
    return compose_dataset(context)


def bytes_of(context: Context, version: str) -> dict[str, bytes]:
    found = {}
    for form in ("messages", "sharegpt", "alpaca", "chatml", "parquet"):
        path = context.workspace.root.parent / f"out.{form}"
        export_dataset(context, path, form, None, version)
        found[form] = path.read_bytes()
    folder = context.workspace.root.parent / "out.hf"
    export_dataset(context, folder, "hf", None, version)
    files = (path for path in folder.rglob("*") if path.is_file())
    return found | {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_compose_says_how_it_divided_and_what_it_left_out(context: Context) -> None:
    add_rows(context, "a.jsonl", *map(row, range(100)))
    dataset = steps(context)
    assert (dataset.n_train, dataset.n_validation, dataset.n_test) == (85 + 3, 5, 10)
    assert "compose: dataset " in " ".join(lines(context))
    assert "whole groups (chapters, episodes, rows): 85 train, 5 validation, 10 test" in lines(
        context
    )
    assert not any(line.startswith("pairs left out") for line in lines(context))
    context.recipe.compose.max_pairs = 60
    steps(context)
    assert "pairs left out: 40 above compose.max_pairs, 1 beyond their share" in lines(context)


def test_compose_says_what_is_too_close(context: Context) -> None:
    add_rows(context, "a.jsonl", *map(row, range(100)))
    steps(context)
    held = context.workspace.store.rows(
        "SELECT split, answer FROM lineage WHERE split <> 'train' ORDER BY split, answer"
    )
    close = [
        row(200 + n, answer=f"{' '.join(each['answer'].split()[:20])} {words(f'more {n}', 60)}.")
        for n, each in enumerate(held)
    ]
    add_rows(context, "b.jsonl", *close)
    context.recipe.compose.test_share = context.recipe.compose.validation_share = 0
    dataset = steps(context)
    counts = Counter(each["split"] for each in held)
    assert (
        f"pairs left out: {counts['test']} too close to test,"
        f" {counts['validation']} too close to validation" in lines(context)
    )
    assert (dataset.n_validation, dataset.n_test) == (counts["validation"], counts["test"])


def test_a_near_duplicate_in_place_of_a_held_out_row_is_held_out(context: Context) -> None:
    add_rows(context, "a.jsonl", *map(row, range(100)))
    first = steps(context)
    held = context.workspace.store.rows("SELECT answer FROM lineage WHERE split <> 'train'")
    # The longer text wins, as its question takes up the answer.
    longer = [
        f"{each['answer'].rstrip('.')} {words(f'more {n}', 6)}." for n, each in enumerate(held)
    ]
    rows = [row(200 + n, answer=a, question=f"{a[:40]}?") for n, a in enumerate(longer)]
    add_rows(context, "b.jsonl", *rows)
    second = steps(context)
    trained = {
        each["answer"]
        for each in context.workspace.store.rows(
            "SELECT answer FROM lineage WHERE split = 'train' AND dataset_id = ?", [second.id]
        )
    }
    assert not trained & {*longer, *(each["answer"] for each in held)}
    assert second.n_validation + second.n_test >= first.n_validation + first.n_test


def test_a_full_chapter_is_told_apart_from_a_full_dataset(context: Context) -> None:
    path = context.workspace.root.parent / "book.md"
    path.write_text(
        "".join(book(first=10 * n) for n in range(4)).replace("\n\n#", "\n\n##"), "utf-8"
    )
    context.recipe.passages.group_passages = 100
    extract_sources(context, [str(path)])
    context.recipe.compose.max_pairs = 40
    context.recipe.compose.max_group_pairs = 1
    context.recipe.compose.disclosure_share = 0
    steps(context)
    (left_out,) = (line for line in lines(context) if line.startswith("pairs left out"))
    assert "above compose.max_group_pairs" in left_out


def test_rows_that_are_all_alike_leave_nothing_to_train_on(context: Context) -> None:
    keep_duplicates(context)
    alike = [
        row(0, answer=f"{words('alike')} and so it went {n}.", question=f"Which one is number {n}?")
        for n in range(40)
    ]
    add_rows(context, "a.jsonl", *alike)
    for step in (split_documents, ask_questions, curate_pairs):
        step(context)
    with pytest.raises(NothingToDo, match=r"no pair is left to train on.*test_share=0"):
        compose_dataset(context)
    context.recipe.compose.test_share = context.recipe.compose.validation_share = 0
    assert compose_dataset(context).n_train >= 40


def test_shares_that_change_later_are_said_to_touch_new_rows_alone(context: Context) -> None:
    add_rows(context, "a.jsonl", *map(row, range(100)))
    first = steps(context)
    context.recipe.compose.test_share = 0.4
    second = steps(context)
    assert second.n_test == first.n_test
    (line,) = (line for line in lines(context) if line.startswith("whole groups"))
    assert line.endswith(
        "; changed: compose.test_share; this divides new pairs only, the others keep the split of"
        " earlier versions"
    )
    # A version of other content remembers the share with the rest of its recipe.
    for context.recipe.compose.max_pairs in (90, 80):
        steps(context)
    assert not any("changed" in line for line in lines(context))


def test_the_advice_where_only_held_out_rows_are_left_helps(context: Context) -> None:
    rows = [row(n) for n in range(100)]
    add_rows(context, "a.jsonl", *rows)
    steps(context)
    held = {
        each["answer"]
        for each in context.workspace.store.rows(
            "SELECT answer FROM lineage WHERE split <> 'train'"
        )
    }
    add_rows(context, "a.jsonl", *(each for each in rows if each["answer"] in held))
    context.recipe.compose.test_share = context.recipe.compose.validation_share = 0
    with pytest.raises(NothingToDo, match=r"build in a new workspace \(-w\)") as refused:
        steps(context)
    assert "test_share" not in str(refused.value)


def test_any_version_is_exported_again_byte_for_byte(context: Context, tmp_path: Path) -> None:
    (tmp_path / "book.md").write_text(book(), "utf-8")
    extract_sources(context, [str(tmp_path / "book.md")])
    add_rows(context, "a.jsonl", *map(row, range(60)))
    first = steps(context)
    before = bytes_of(context, first.id)
    assert before == bytes_of(context, "latest")
    # Sources, settings and what is left of the former passages change.
    (tmp_path / "book.md").write_text(book(first=3).replace("cousins", "uncles"), "utf-8")
    extract_sources(context, [str(tmp_path / "book.md")])
    add_rows(context, "a.jsonl", *map(row, range(30, 90)))
    context.recipe.persona.system = "You are {name}."
    context.recipe.curate.min_score = 0.2
    second = steps(context)
    assert second.parent_id == first.id != second.id
    context.recipe.compose.max_pairs = 30
    third = steps(context)
    after = bytes_of(context, third.id)
    assert bytes_of(context, first.id) == bytes_of(context, first.id[:6]) == before
    assert bytes_of(context, "previous") == bytes_of(context, second.id)
    assert after not in (before, bytes_of(context, second.id))
    withdraw(context, [str(tmp_path / "a.jsonl")])
    with pytest.raises(NothingToDo, match="contains sources that have been withdrawn since"):
        bytes_of(context, first.id)


def test_a_rerun_writes_no_new_version(context: Context) -> None:
    add_rows(context, "a.jsonl", *map(row, range(30)))
    first = steps(context)
    rows = context.workspace.store.rows("FROM version_verdicts")
    assert steps(context) == first
    assert context.changed == {}
    assert context.workspace.store.rows("FROM version_verdicts") == rows
    assert len(context.workspace.store.nouns(Dataset)) == 1


def test_a_version_that_returns_is_the_latest_and_keeps_its_past(
    context: Context, memoirist: Command
) -> None:
    add_rows(context, "a.jsonl", *map(row, range(60)))
    versions = []
    for most in (5000, 30, 4000):
        context.recipe.compose.max_pairs = most
        versions.append(steps(context))
    first, second, again = versions
    store = context.workspace.store
    assert again == replace(first, used_at=again.used_at)
    assert first.created_at == first.used_at < second.used_at < again.used_at
    assert (first.parent_id, second.parent_id) == (None, first.id)
    assert [find_version(store, name) for name in ("latest", "previous")] == [again, second]
    listed = json.loads(memoirist("look", "versions", "--format", "json").stdout)
    assert [version["id"] for version in listed] == [first.id, second.id]
    assert memoirist("diff").stderr.startswith(f"pairs from {second.id} to {first.id}: ")
    context.recipe.compose.max_pairs = 20
    assert steps(context).parent_id == first.id


def test_what_is_withdrawn_or_superseded_is_no_longer_counted(
    context: Context, tmp_path: Path
) -> None:
    (tmp_path / "book.md").write_text(book(), "utf-8")
    extract_sources(context, [str(tmp_path / "book.md")])
    add_rows(context, "a.jsonl", *map(row, range(20)))
    steps(context)
    (tmp_path / "book.md").write_text(book().replace("cousins", "uncles"), "utf-8")
    extract_sources(context, [str(tmp_path / "book.md")])
    withdraw(context, [str(tmp_path / "a.jsonl")])
    steps(context)
    store = context.workspace.store
    superseded = "SELECT count(*) FROM verdicts WHERE rule = 'superseded'"
    n_kept = store.value("SELECT count(*) FROM kept WHERE origin <> 'disclosure'")
    assert store.value(superseded) > 0 < n_kept
    funnel = store.rows("SELECT n FROM funnel WHERE source = 'The river'")
    assert len(funnel) == 9
    assert {each["n"] for each in funnel} == {n_kept}
    assert f"curate: {n_kept} of {n_kept} pairs kept" in lines(context)


def test_what_differs_between_two_versions_and_why(context: Context) -> None:
    add_rows(context, "a.jsonl", *map(row, range(60)))
    context.recipe.compose.disclosure_share = 0
    first = steps(context)
    better = [row(n, question=f"{words(f'a{n}', 6)}?") for n in range(100, 110)]
    add_rows(context, "b.jsonl", *better)
    context.recipe.compose.max_pairs = 40
    second = steps(context)
    rows, summary = compare_versions(context.workspace.store, ("previous", "latest"), 5)
    found = {(r[0], r[1]): r[2] for r in rows.rows}
    went, came = found["went", "not_selected"], found["came", "new_source"]
    assert set(found) == {("went", "not_selected"), ("came", "new_source")}
    assert 60 - went + came == 40
    assert Counter(r[0] for r in rows.rows) == {"went": 5, "came": min(5, came)}
    assert all(r[7] == "the dataset takes the best 40 pairs" for r in rows.rows if r[0] == "went")
    assert summary == (
        f"pairs from {first.id} to {second.id}: {came} came, {went} went;"
        f" recipe: compose.max_pairs: 5000 -> 40"
    )
    # The other way round, what went comes, and the reason is the one of that time.
    backwards, _ = compare_versions(context.workspace.store, (second.id, first.id), 100)
    assert {(r[0], r[1]): r[2] for r in backwards.rows} == {
        ("came", "not_selected"): went,
        ("went", "gone"): came,
    }
    assert compare_versions(context.workspace.store, ("latest", "latest"), 5)[1].endswith(
        "no difference"
    )


def test_an_unjudged_source_is_told_apart_from_what_is_above_the_limits(context: Context) -> None:
    add_rows(context, "a.jsonl", *map(row, range(30)))
    steps(context)
    add_rows(context, "b.jsonl", *map(row, range(100, 120)))
    context.recipe.compose.gap_pairs = 3
    compose_dataset(context)
    store = context.workspace.store
    rules = "SELECT rule, count(*) AS n FROM version_verdicts WHERE subject = 'pairs' GROUP BY rule"
    assert store.rows(rules) == [{"rule": "unjudged", "n": 20}]
    assert "pairs left out: 20 not judged yet" in lines(context)
    steps(context)
    rows, _ = compare_versions(store, ("previous", "latest"), 1)
    assert ("came", "unjudged", 20) in [row[:3] for row in rows.rows]


def test_a_version_without_reasons_gives_none(context: Context) -> None:
    add_rows(context, "a.jsonl", *map(row, range(60)))
    context.recipe.compose.disclosure_share = 0
    context.recipe.compose.max_pairs = 30
    steps(context)
    store = context.workspace.store
    with store.writing() as tx:
        # As an older version of the program leaves it.
        tx.execute("DELETE FROM version_verdicts")
        tx.execute("UPDATE datasets SET recipe = NULL")
    context.recipe.compose.max_pairs = 5000
    steps(context)
    reason = "unknown: an older version of the program stored no reasons"
    for names, change in ((("previous", "latest"), "came"), (("latest", "previous"), "went")):
        rows, summary = compare_versions(store, names, 1)
        assert [(*r[:3], r[7]) for r in rows.rows] == [(change, "unknown", 30, reason)]
        assert summary.endswith(f"30 {change}")


def test_another_rule_and_another_split_are_told(context: Context) -> None:
    add_rows(context, "a.jsonl", *map(row, range(60)))
    context.recipe.compose.max_pairs = 50
    steps(context)
    store = context.workspace.store
    left_out = store.value("SELECT subject_id FROM verdicts WHERE rule = 'not_selected' LIMIT 1")
    moved = store.value("SELECT pair_id FROM lineage WHERE split = 'train' AND origin = 'given'")
    with store.writing() as tx:
        tx.execute(
            "INSERT INTO verdicts BY NAME SELECT ? AS subject_id, 'pairs' AS subject,"
            " 'low' AS rule, false AS keep, 'too low' AS reason, 'grade' AS step, source_id,"
            " ? AS created_at"
            " FROM own_pairs WHERE id = ?",
            [left_out, NOW, left_out],
        )
        tx.execute("UPDATE splits SET split = 'test' WHERE group_id = ?", [moved])
    context.recipe.compose.gap_pairs = 3
    compose_dataset(context)
    rows, summary = compare_versions(store, ("previous", "latest"), 5)
    changes = {r[0]: r[1:6:2] for r in rows.rows}
    assert changes["moved"][:2] == ("split", "train -> test")
    assert {r[1] for r in rows.rows if r[0] == "verdict"} == {"not_selected -> low"}
    assert "1 changed their split, 1 left out by another rule" in summary


def test_versions_are_found_by_name_and_listed(context: Context, memoirist: Command) -> None:
    add_rows(context, "a.jsonl", *map(row, range(30)))
    with pytest.raises(NothingToDo, match="no dataset yet"):
        find_version(context.workspace.store)
    first = steps(context)
    with pytest.raises(NothingToDo, match="no dataset version 'previous'"):
        find_version(context.workspace.store, "previous")
    context.recipe.compose.max_words = 600
    context.recipe.compose.max_pairs = 20
    second = steps(context)
    store = context.workspace.store
    assert find_version(store, first.id[:5]).id == first.id == find_version(store, "previous").id
    for name in ("", "zz"):
        with pytest.raises(NothingToDo, match="look versions"):
            find_version(store, name)
    with store.writing() as tx:
        tx.execute("UPDATE datasets SET id = 'ab' || id")
        tx.execute("UPDATE datasets SET parent_id = 'ab' || parent_id")
    with pytest.raises(QueryError, match=f"ab{second.id}, ab{first.id}"):
        find_version(store, "ab")
    listed = json.loads(memoirist("look", "versions", "--format", "json").stdout)
    assert [version["id"][2:] for version in listed] == [second.id, first.id]
    assert [version["parent"] for version in listed] == [f"ab{first.id}", None]
    assert listed[0]["recipe_changes"] == (
        "compose.max_pairs: 5000 -> 20, compose.max_words: 700 -> 600"
    )
    assert listed[1]["train"] == first.n_train


def test_the_commands(context: Context, memoirist: Command, tmp_path: Path) -> None:
    add_rows(context, "a.jsonl", *map(row, range(30)))
    first = steps(context)
    context.recipe.compose.max_pairs = 20
    steps(context)
    done = memoirist("diff", "--format", "json", "-n", "1")
    assert done.returncode == 0
    assert {r["rule"] for r in json.loads(done.stdout)} == {"not_selected"}
    assert done.stderr.startswith(f"pairs from {first.id} to ")
    assert "change  rule" in memoirist("diff", first.id[:4], "latest").stdout
    assert memoirist("diff", "nothing").returncode == 1
    assert memoirist("export", "-o", "old.jsonl", "--version", "previous").returncode == 0
    assert len((tmp_path / "old.jsonl").read_text("utf-8").splitlines()) == first.n_train + (
        first.n_validation + first.n_test
    )
