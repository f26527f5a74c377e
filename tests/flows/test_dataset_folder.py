"""A dataset version as a folder: read by `datasets`, with lineage and card, pushed where it may."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from markdown_it import MarkdownIt

from memoirist.data.store.store import Store
from memoirist.flows.models.dataset_folder import dataset_card
from tests.conftest import run
from tests.support.model_hub import TOKEN, ModelHub, ModelRepository

HF = ["export", "--format", "hf", "-o"]


@pytest.fixture
def folder(composed: Path, tmp_path: Path) -> Path:
    """Return a folder with a workspace of its own, whose dataset is composed."""
    shutil.copytree(composed / "workspace", tmp_path / "workspace")
    return tmp_path


def store_of(folder: Path) -> Store:
    return Store(folder / "workspace" / "memoirist.duckdb")


def files_of(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def front_of(card: str) -> dict[str, Any]:
    front: dict[str, Any] = yaml.safe_load(card.split("\n---\n")[0])
    return front


def test_datasets_loads_the_folder_with_the_lineage_of_each_turn(folder: Path) -> None:
    from datasets import load_dataset

    done = run(folder, *HF, "hf")
    assert done.returncode == 0, done.stderr
    store = store_of(folder)
    rows = store.rows("SELECT id, split, messages, pair_ids FROM conversations")
    assert done.stderr.startswith(f"{len(rows)} rows of dataset")
    loaded = load_dataset(str(folder / "hf"), cache_dir=str(folder / "cache"))
    assert {split: len(part) for split, part in loaded.items()} == {
        split: sum(row["split"] == split for row in rows)
        for split in ("train", "validation", "test")
    }
    lineage = {row["pair_id"]: row for row in store.rows("SELECT * FROM lineage")}
    for row in rows:
        (loaded_row,) = (each for each in loaded[row["split"]] if each["id"] == row["id"])
        assert loaded_row["messages"] == row["messages"]
        assert [turn["pair_id"] for turn in loaded_row["turns"]] == row["pair_ids"]
        for turn in loaded_row["turns"]:
            known = lineage[turn["pair_id"]]
            for name in ("source", "page_first", "start_seconds", "score", "passage_id"):
                assert turn[name] == known[name]
            assert turn["question_origin"] == known["origin"]
            assert turn["page_first"] or turn["start_seconds"] is not None or not turn["chapter"]
    flags = {
        flag
        for part in loaded.values()
        for row in part
        for t in row["turns"]
        for flag in t["flags"]
    }
    assert flags == {"disclosure"}
    # Nothing tells where the files lie on this machine.
    assert all(str(folder).encode() not in content for content in files_of(folder / "hf").values())


def test_an_export_gives_the_same_bytes_and_is_not_overwritten(folder: Path) -> None:
    for name in ("one", "two"):
        assert run(folder, *HF, name).returncode == 0
    first = files_of(folder / "one")
    assert first == files_of(folder / "two")
    line = run(folder, *HF, "one").stderr
    assert line == (
        "memoirist: the folder 'one' is not empty; choose another folder, or give --force"
        " to overwrite a former export\n"
    )
    (folder / "one" / "mine.txt").write_text("mine", "utf-8")
    assert run(folder, *HF, "one", "--force", "--split", "test").returncode == 0
    left = files_of(folder / "one")
    assert left.keys() == {"README.md", "data/test-00000-of-00001.parquet", "mine.txt"}
    splits = front_of(left["README.md"].decode())["configs"][0]["data_files"]
    assert [each["split"] for each in splits] == ["test"]
    done = run(folder, *HF, "three", "--split", "dev")
    assert (done.returncode, (folder / "three").exists()) == (1, False)
    assert "no conversation has the split 'dev'" in done.stderr


def test_a_version_shows_what_it_was_made_of_and_the_rights_of_today(folder: Path) -> None:
    assert run(folder, *HF, "one").returncode == 0
    with store_of(folder).writing() as tx:
        tx.execute("UPDATE pair_scores SET score = 0.125")
        tx.execute("UPDATE cut_passages SET chapter = 'Another'")
        tx.execute("UPDATE sources SET title = 'Another', mix_share = 0.5")
        tx.execute("UPDATE verdicts SET keep = NOT keep")
        tx.execute("UPDATE thresholds SET value = value + 1")
    assert run(folder, *HF, "two").returncode == 0
    assert files_of(folder / "one") == files_of(folder / "two")
    for source in json.loads(run(folder, "rights", "--format", "json").stdout):
        assert run(folder, "rights", source["id"], "--rights", "licence:CC0-1.0").returncode == 0
    assert run(folder, *HF, "three").returncode == 0
    rows = pq.read_table(folder / "three" / "data").to_pylist()
    assert {turn["rights"] for row in rows for turn in row["turns"]} == {"licence:CC0-1.0"}
    assert front_of((folder / "three" / "README.md").read_text("utf-8"))["license"] == "cc0-1.0"


def test_the_workspace_and_the_sources_are_never_written_to(folder: Path) -> None:
    (folder / "texts").mkdir()
    (folder / "texts" / "README.md").write_text("A text of mine.", "utf-8")
    with store_of(folder).writing() as tx:
        tx.execute(
            "UPDATE sources SET location = ? WHERE kind = 'book'",
            [str(folder / "texts" / "README.md")],
        )
    (folder / "file").write_text("mine", "utf-8")
    refusals = {
        "workspace": "is the workspace itself",
        "workspace/runs": "belongs to the workspace",
        "texts": "contains sources",
        "file": "is a file",
    }
    before = files_of(folder)
    for name, reason in refusals.items():
        done = run(folder, *HF, name, "--force")
        assert done.returncode == 1
        assert reason in done.stderr
    assert files_of(folder) == before


def test_the_card_names_sources_rules_and_the_thresholds_in_force(folder: Path) -> None:
    assert run(folder, "rights", "memoir.pdf", "--rights", "public-domain:US").returncode == 0
    assert run(folder, *HF, "hf").returncode == 0
    card = (folder / "hf" / "README.md").read_text("utf-8")
    front = front_of(card)
    assert (front["language"], front["license"], front["size_categories"]) == (
        ["en"],
        "other",
        ["n<1K"],
    )
    for split in front["configs"][0]["data_files"]:
        assert (folder / "hf" / split["path"]).is_file()
    store = store_of(folder)
    in_train = "SELECT count(*), sum(len(pair_ids)) FROM conversations WHERE split = 'train'"
    ((conversations, pairs),) = (row.values() for row in store.rows(in_train))
    learnt = store.value("SELECT count(*) FROM lineage WHERE source LIKE 'Short Weight%'")
    rights = "public-domain:US (the user)"
    for line in (
        f"| Short Weight: A Memoir | Edith Thackwray | book | {rights} | {learnt} |",
        "| blocks | running_head | 29 |",
        f"| {conversations} | {pairs} |",
        "min_score | ",
    ):
        assert line in card
    with store_of(folder).writing() as tx:
        tx.execute(
            "CREATE TABLE IF NOT EXISTS thresholds (name VARCHAR, lang VARCHAR, value DOUBLE)"
        )
        tx.execute("DELETE FROM thresholds")
        tx.execute("INSERT INTO thresholds VALUES ('gates.min_stop_share', 'en', 0.25)")
        # As an older version of the program leaves it.
        tx.execute("DELETE FROM version_cards")
        tx.execute("DELETE FROM version_turns")
    assert run(folder, *HF, "hf", "--force").returncode == 0
    card = (folder / "hf" / "README.md").read_text("utf-8")
    assert "| gates.min_stop_share | en | 0.25 |" in card
    assert "min_score" not in card


def test_what_comes_from_sources_cannot_write_into_the_card() -> None:
    evil = "x | y\n\n# <img src=a onerror=b> [l](javascript:c) `d`\n---\nlicense: mit"
    split = {"split": "train", "conversations": 2_000, "exchanges": 2_500, "tokens": 9}
    facts = {
        "id": "d1",
        "created_at": "2026-01-01",
        "persona": evil,
        "languages": ["en"],
        "splits": [{**split, "file": "data/train.parquet"}],
        "sources": [
            {"title": evil, "author": evil, "rights": "licence:CC-BY-4.0", "mix_share": 0.1},
            {"title": "B", "rights": "licence:CC-BY-4.0", "pairs": 3},
        ],
        "origins": {"spoken": 5, "template": 1_100},
        "drops": [{"subject": "pairs", "rule": "leak", "n": 17}],
        "thresholds": [],
        "polished": 12,
        "system": evil,
    }
    card = dataset_card(facts)
    front = front_of(card)
    assert (front["license"], front["size_categories"]) == ("cc-by-4.0", ["1K<n<10K"])
    assert front["pretty_name"] == f"Interviews with {' '.join(evil.split())}"
    html = (
        MarkdownIt("commonmark", {"html": True})
        .enable("table")
        .render(card.partition("\n---\n")[2])
    )
    assert "<img" not in html
    assert "href" not in html
    assert html.count("<h1>") == 1
    assert "1,100 of the questions were never asked" in html
    assert "12 of the answers are not verbatim" in html
    assert "is mixed into" in html


# huggingface_hub 2.4 hands a stream to httpx2 in a way that the latter has renamed.
@pytest.mark.filterwarnings("ignore::DeprecationWarning:httpx2")
def test_a_push_needs_the_rights_of_every_source(folder: Path, hub: ModelHub) -> None:
    version = str(store_of(folder).value("SELECT id FROM datasets"))
    push = ["push", "--dataset", version[:6], "me/edith"]
    titles = {
        row["id"]: row["title"]
        for row in json.loads(run(folder, "rights", "--format", "json").stdout)
    }
    for source in titles:
        done = run(folder, "rights", source, "--rights", "unknown")
        assert done.returncode == 0, done.stderr
    done = run(folder, *push, HF_TOKEN=TOKEN)
    assert (done.returncode, hub.repositories) == (1, {})
    assert done.stderr.startswith(f"memoirist: dataset {version} must not be pushed: ")
    assert all(f"{title}: its rights are unknown" in done.stderr for title in titles.values())
    assert done.stderr.count("\n") == 1
    for source in titles:
        run(folder, "rights", source, "--rights", "licence:CC-BY-4.0")
    done = run(folder, *push, HF_TOKEN=TOKEN)
    assert done.returncode == 0, done.stderr
    pushed = hub.repositories["me/edith"]
    assert (pushed.kind, pushed.private) == ("dataset", True)
    assert pushed.commits == [f"Memoirist dataset {version}"]
    assert done.stdout.startswith(f"{hub.url}/me/edith/commit/")
    assert run(folder, *HF, "hf").returncode == 0
    assert pushed.files == files_of(folder / "hf")
    assert front_of(pushed.files["README.md"].decode())["license"] == "cc-by-4.0"
    hub.repositories["me/open"] = ModelRepository(private=False, kind="dataset")
    done = run(folder, *push[:-1], "me/open", HF_TOKEN=TOKEN)
    assert "'me/open' is public" in done.stderr
    assert not hub.repositories["me/open"].files
    assert run(folder, *push[:-1], "me/open", "--public", HF_TOKEN=TOKEN).returncode == 0


def test_wrong_names_are_refused_before_anything_is_sent(folder: Path, hub: ModelHub) -> None:
    done = run(folder, "push", "--dataset", "none", "me/x", HF_TOKEN=TOKEN)
    assert "there is no dataset version 'none'; `memoirist look versions`" in done.stderr
    done = run(folder, "push", "--dataset", "none", "a/b/c", HF_TOKEN=TOKEN)
    assert "'a/b/c' is not a repository name" in done.stderr
    for arguments in (
        ["me/x"],
        ["run", "me/x", "--dataset", "d"],
        ["me/x", "--dataset", "d", "--adapter"],
    ):
        done = run(folder, "push", *arguments, HF_TOKEN=TOKEN)
        assert done.returncode == 2
        assert "--dataset VERSION OWNER/NAME" in " ".join(done.stderr.split())
    assert hub.repositories == {}
