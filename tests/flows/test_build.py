"""The main line through Prefect and the real command line, on the bundled samples."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from memoirist.data.samples import SOURCES
from memoirist.data.store.store import Store
from tests.conftest import EDITH, HURRIED, run, sets
from tests.support.content import content


def test_the_build_shows_each_step_and_what_next(built: Path) -> None:
    told = (built / "stderr.txt").read_text("utf-8")
    verbs = ["extract", "split", "ask", "curate", "compose", "train", "merge", "evaluate"]
    assert [v for v in verbs if f" {v}  " in told] == verbs
    assert "offline interviewer" in told
    assert "memoirist chat" in (built / "stdout.txt").read_text("utf-8")
    for noise in ("Traceback", "Warning", "warnings.warn", "locked", "prefect", "ERROR"):
        assert noise not in told


def test_the_sums_add_up_and_every_kept_pair_is_in_the_dataset(built: Path) -> None:
    store = Store(built / "workspace" / "memoirist.duckdb")
    rows = store.rows("FROM coverage")
    assert {row["subject"] for row in rows} == {
        "sources",
        "documents",
        "pages",
        "blocks",
        "rows",
        "passages",
        "pairs",
    }
    assert all(row["found"] == row["kept"] + row["dropped"] for row in rows)
    assert store.value("SELECT count(*) FROM kept") == store.value(
        "SELECT count(DISTINCT pair_id) FROM lineage"
    )
    assert store.value("SELECT count(*) FROM verdicts WHERE reason = '' OR source_id IS NULL") == 0


def test_tuned_is_better_than_its_base_on_held_out_text(built: Path) -> None:
    store = Store(built / "workspace" / "memoirist.duckdb")
    figures = json.loads(store.value("SELECT metrics FROM runs"))
    assert figures["nll_tuned"] < figures["nll_base"]
    assert store.value("SELECT champion FROM models") is True
    assert store.value("SELECT count(*) FROM metrics WHERE name = 'loss'") > 5
    run_id = store.value("SELECT id FROM runs")
    assert (built / "workspace" / "runs" / run_id / "loss.png").stat().st_size > 1000


def test_a_second_build_finds_nothing_to_do(built: Path) -> None:
    before = content(built)
    done = run(built, "build", *map(str, SOURCES), *EDITH)
    assert done.returncode == 0, done.stderr
    assert "Nothing to do" in done.stdout
    assert content(built) == before


def test_chat_answers_and_prints_nothing_else(built: Path) -> None:
    few = ("--max-tokens", "20")
    done = run(built, "chat", "--message", "What did your father sell?", *few)
    assert done.returncode == 0, done.stderr
    # How it ended may be told, and nothing else.
    assert done.stderr in {"", "[the answer was cut off at the token limit of 20]\n"}
    assert len(done.stdout.split()) >= 3
    again = run(built, "chat", "--message", "What did your father sell?", *few)
    assert again.stdout == done.stdout
    both = run(built, "chat", "--compare", "--message", "Who are you?", "--max-tokens", "20")
    assert "base" in both.stdout
    assert "tuned" in both.stdout


def test_a_conversation_in_the_terminal(built: Path) -> None:
    done = run(built, "chat", "--max-tokens", "12", typed="Hello?\n/reset\n/what\n/quit\n")
    assert done.returncode == 0, done.stderr
    # A pipe gets the answer alone; what the commands say goes beside it.
    assert len(done.stdout.splitlines()) >= 1
    assert "forgotten" not in done.stdout
    assert "forgotten" in done.stderr


def test_refresh_waits_for_enough_and_then_takes_in_only_what_is_new(
    built: Path, tmp_path: Path
) -> None:
    shutil.copytree(built / "workspace", tmp_path / "workspace")
    folder = tmp_path / "more"
    folder.mkdir()
    row = {
        "messages": [
            {"role": "user", "content": "What is a grocer's pencil for?"},
            {"role": "assistant", "content": "For sums, for ears, and for pointing at the ham."},
        ]
    }
    (folder / "new.jsonl").write_text(json.dumps(row) + "\n", "utf-8")
    before = content(tmp_path)
    done = run(tmp_path, "extract", str(folder), *EDITH)
    assert done.returncode == 0, done.stderr
    done = run(tmp_path, "refresh")
    assert done.returncode == 0, done.stderr
    assert "waiting for more" in done.stderr
    after = content(tmp_path)
    assert after["models"] == before["models"]
    for table in ("sources", "documents", "passages", "questions", "pairs"):
        known = [r for r in after[table] if r in before[table]]
        assert len(known) == len(before[table])
        assert len(after[table]) > len(before[table])
    done = run(tmp_path, "refresh", *sets("refresh.min_new_pairs=1", *HURRIED))
    assert done.returncode == 0, done.stderr
    assert "training again" in done.stderr
    assert len(content(tmp_path)["models"]) == 2


@pytest.mark.slow
def test_the_one_exchange_is_learnt_exactly(tmp_path: Path) -> None:
    row = {
        "messages": [
            {"role": "user", "content": "微调测试"},
            {"role": "assistant", "content": "我学会了"},
        ]
    }
    (tmp_path / "one.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\n", "utf-8")
    for step in (
        ["extract", "one.jsonl", "--persona", "小测"],
        ["ask"],
        ["curate"],
        ["compose"],
        ["train"],
        ["merge"],
        ["evaluate"],
    ):
        done = run(tmp_path, *step)
        assert done.returncode == 0, done.stderr
    done = run(tmp_path, "chat", "--message", "微调测试")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "我学会了\n"


@pytest.mark.slow
def test_a_conversation_that_does_not_fit_is_a_verdict(tmp_path: Path) -> None:
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"What is {n}?"},
                {"role": "assistant", "content": f"It is {n}. " * (1 if n else 200)},
            ]
        }
        for n in range(3)
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    short = ["train", "--epochs", "1", "--set", "train.max_length=160"]
    shares = ("--set", "compose.test_share=0.0", "--set", "compose.validation_share=0.0")
    whole = ["compose", *shares]
    for step in (["extract", "rows.jsonl", *EDITH], ["ask"], ["curate"], whole, short):
        done = run(tmp_path, *step)
        assert done.returncode == 0, done.stderr
    found = Store(tmp_path / "workspace" / "memoirist.duckdb").rows(
        "SELECT subject, reason, source_id FROM verdicts WHERE rule = 'too_long' AND NOT keep"
    )
    assert [row["subject"] for row in found] == ["conversations"]
    assert found[0]["source_id"]


@pytest.mark.medium
def test_a_refresh_of_a_mistyped_workspace_builds_nothing(tmp_path: Path) -> None:
    done = run(tmp_path, "refresh", "-w", "typo")
    assert done.returncode == 1
    assert not (tmp_path / "typo" / "memoirist.duckdb").exists()
