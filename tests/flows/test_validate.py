"""`memoirist validate`: exit codes, tables, standard input, and what it may write to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import Command, run

GOOD = (
    '{"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]}\n'
)
FAULTY = GOOD + "\n" + GOOD.replace("So", "No").replace('"messages"', '"id": 1, "messages"')


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    path = tmp_path / "chats.jsonl"
    path.write_text(FAULTY, "utf-8")
    return path


def test_faults_are_counted_with_their_lines(memoirist: Command, faulty: Path) -> None:
    done = memoirist("validate", faulty.name, "--format", "json")
    assert done.returncode == 1
    assert (
        done.stderr
        == "2 rows, 1 of them with faults; OpenAI accepts only files of 10 rows or more\n"
    )
    assert [(row["fault"], row["rows"], row["lines"]) for row in json.loads(done.stdout)] == [
        ("blank_line", 1, [2]),
        ("unknown_key", 1, [3]),
    ]
    done = memoirist("validate", faulty.name)
    assert done.returncode == 1
    assert done.stdout.splitlines()[0].split() == ["fault", "rows", "lines", "reason", "fix"]
    assert not (faulty.parent / "workspace").exists()


def test_standard_input_is_read_and_a_good_file_ends_with_zero(memoirist: Command) -> None:
    done = memoirist("validate", "-", "--format", "json", typed=GOOD)
    assert (done.returncode, json.loads(done.stdout)) == (0, [])
    assert done.stderr.startswith("1 row, 0 of them with faults;")
    assert memoirist("validate", "-", typed=FAULTY).returncode == 1
    assert memoirist("validate", "-", "--max-tokens", "5", typed=GOOD).returncode == 1


def test_the_mended_file_validates_and_nothing_is_overwritten(
    memoirist: Command, faulty: Path
) -> None:
    done = memoirist("validate", faulty.name, "--fix", "new/out.jsonl")
    assert done.returncode == 1
    assert "2 written to new/out.jsonl: 1 mended, 0 repeated and 0 others left out" in done.stderr
    assert memoirist("validate", "new/out.jsonl").returncode == 0
    line = memoirist("validate", faulty.name, "--fix", faulty.name).stderr
    assert "exists already; choose another path, or give --force" in line
    assert faulty.read_text("utf-8") == FAULTY
    assert memoirist("validate", faulty.name, "--fix", faulty.name, "--force").returncode == 1
    assert memoirist("validate", faulty.name).returncode == 0


def test_nothing_is_written_where_no_row_is_left(memoirist: Command, tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text(f"[\n{GOOD}]\n", "utf-8")
    done = memoirist("validate", "list.json", "--fix", "out.jsonl")
    assert done.returncode == 1
    (tmp_path / "none.jsonl").write_text("{}\n", "utf-8")
    done = memoirist("validate", "none.jsonl", "--fix", "none.out")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "memoirist: no row of 'none.jsonl' could be mended; run it without --fix to see its"
        " faults\n"
    )
    assert {path.name for path in tmp_path.iterdir()} == {"list.json", "out.jsonl", "none.jsonl"}


def test_wrong_files_are_refused_in_one_line(memoirist: Command, tmp_path: Path) -> None:
    for name, reason in (("none.jsonl", "does not exist"), (".", "is a folder")):
        done = memoirist("validate", name)
        assert done.returncode == 1
        assert f"the file {name!r} {reason}; name a file" in done.stderr
        assert done.stderr.count("\n") == 1


def test_what_is_exported_validates(composed: Path) -> None:
    assert run(composed, "export", "-o", "all.jsonl").returncode == 0
    n_rows = len((composed / "all.jsonl").read_text("utf-8").splitlines())
    done = run(composed, "validate", "all.jsonl")
    assert n_rows > 100
    assert (done.returncode, done.stderr) == (0, f"{n_rows} rows, 0 of them with faults\n")
