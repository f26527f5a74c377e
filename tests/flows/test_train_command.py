"""`train` by itself: any dataset in, a run out; told before, alive when its terminal is gone."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import shutil
import subprocess
import sys
import termios
from dataclasses import replace
from pathlib import Path

import pytest

from memoirist.data.schema.errors import NothingToDo, TrainError
from memoirist.data.schema.records import Conversation, Dataset, Metric, Run
from memoirist.data.store.store import Store
from memoirist.flows.cli import options
from memoirist.flows.cli.main import as_values
from memoirist.flows.models.model_registry import list_models, run_and_step
from memoirist.flows.planning.training_estimate import estimated_plan, token_lines
from memoirist.flows.steps.train import current_run, run_of, train_model
from memoirist.train.model.prepared_base import PreparedBase, prepare_base
from memoirist.train.requirements import shape_of
from memoirist.train.settings import TrainSettings
from memoirist.train.token_stats import preview
from tests.conftest import Command, environment, run, run_process
from tests.support.hub_server import HubServer, Repository
from tests.train.test_random_bases import random_base

PLACES = "mill river school house garden church bridge harbour field barn tower market".split()
QUICK = ("--set", "train.min_steps=4", "--set", "train.answers_per_save=1")


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_base(tmp_path_factory.mktemp("toy") / "random", 64, True)


@pytest.fixture(scope="module")
def trained(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train on a ChatML file by itself, for real, and return the folder."""
    folder = tmp_path_factory.mktemp("alone")
    write_rows(folder / "talks.jsonl")
    done = run(
        folder, "train", "--data", "talks.jsonl", "-o", "out", "--base-model", str(toy), *QUICK
    )
    assert done.returncode == 0, done.stderr
    (folder / "stderr.txt").write_text(done.stderr, "utf-8")
    return folder


def write_rows(path: Path) -> None:
    """Write a row for each place; all but the place is alike, as in many datasets."""
    lines = [
        {
            "messages": [
                {"role": "system", "content": "You are Ada."},
                {"role": "user", "content": f"What do you know of the old {place} in your town?"},
                {
                    "role": "assistant",
                    "content": f"The {place} is old, and I was there as a child.",
                },
                {"role": "user", "content": "Is it still there?"},
                {"role": "assistant", "content": f"No, nobody has seen the {place} since then."},
            ]
        }
        for place in PLACES
    ]
    broken = {"messages": [{"role": "user", "content": "Nobody answers?"}]}
    path.write_text("\n".join(json.dumps(line) for line in [*lines, broken]) + "\n", "utf-8")


def test_a_dataset_trains_without_a_persona(trained: Path) -> None:
    store = Store(trained / "out" / "memoirist.duckdb")
    (one,), (dataset,) = store.nouns(Run), store.nouns(Dataset)
    assert one.status == "trained"
    rows = store.nouns(Conversation)
    assert (len(rows), dataset.n_train + dataset.n_validation + dataset.n_test) == (12, 12)
    assert dataset.n_test >= 1
    # Both exchanges, under the row's own system prompt.
    assert {len(row.messages) for row in rows} == {5}
    assert {row.messages[0]["content"] for row in rows} == {"You are Ada."}
    # The row that nobody answers is a verdict, not a silence.
    assert store.value("SELECT count(*) FROM verdicts WHERE subject = 'rows' AND NOT keep") == 1
    assert (trained / "out" / "runs" / one.id / "adapter").is_dir()
    assert store.nouns(Metric, "name = 'loss'")


def test_what_is_told_before_is_what_was_done(trained: Path) -> None:
    told = (trained / "stderr.txt").read_text("utf-8")
    store = Store(trained / "out" / "memoirist.duckdb")
    (dataset,) = store.nouns(Dataset)
    assert f"plan  {dataset.n_train} rows with " in told
    assert f"{dataset.n_validation} held-out rows, " in told
    assert "estimate: memory about " in told
    assert "estimate: time " in told
    steps = store.value("SELECT max(step) FROM metrics WHERE name = 'loss'")
    assert f"{steps} steps of " in told


@pytest.mark.slow
def test_a_run_that_fails_says_so_and_goes_on(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "out", tmp_path / "out")
    context = options.open_workspace(tmp_path / "out", None, {"train.seed": 7})
    store = context.workspace.store
    (done,) = store.nouns(Run)
    run_id, _ = run_of(context, store.nouns(Dataset)[0])
    folder = context.workspace.run_folder(run_id)
    # The rows and settings of another run lie where this one is to be.
    shutil.copytree(context.workspace.run_folder(done.id), folder)
    with pytest.raises(TrainError, match="holds a run with other settings"):
        train_model(context)
    (failed,) = store.nouns(Run, "status = 'failed'")
    assert failed.id == run_id
    assert {row[1] for row in list_models(context).rows} == {"trained", "failed"}
    with pytest.raises(NothingToDo, match=r"is not finished \(failed\); finish it"):
        run_and_step(context, run_id)
    with pytest.raises(NothingToDo, match="not trained yet"):
        current_run(context)
    shutil.rmtree(folder)
    assert train_model(context).status == "trained"
    assert {run.status for run in store.nouns(Run)} == {"trained"}


def test_a_layer_that_the_base_lacks_is_refused_before_a_run_begins(trained: Path) -> None:
    for command in (["train"], ["train", "--show"], ["plan"]):
        done = run(trained, *command, "-w", "out", "--set", "train.target_modules=query")
        assert done.returncode == 1, done.stderr
        last = done.stderr.splitlines()[-1]
        assert "train.target_modules names 'query'" in last
        assert "take some of q_proj, k_proj" in last
    assert len(Store(trained / "out" / "memoirist.duckdb").nouns(Run)) == 1


@pytest.mark.medium
def test_chat_and_merge_take_the_run(trained: Path) -> None:
    done = run(trained, "merge", "-w", "out", "--set", "merge.prompts=2")
    assert done.returncode == 0, done.stderr
    done = run(trained, "chat", "-w", "out", "-m", "What of the mill?", "--max-tokens", "3")
    assert done.returncode == 0, done.stderr


def test_rows_are_shown_with_plain_marks_when_piped(trained: Path) -> None:
    done = run(trained, "train", "-w", "out", "--show", "2")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    assert done.stdout.count("--- ") == 2
    # Every answer with its end token, and nothing else.
    assert done.stdout.count("⟦") == done.stdout.count("<|im_end|>⟧") == 4
    assert "⟦The " in done.stdout
    assert "⟦You are Ada" not in done.stdout


@pytest.mark.slow
def test_a_hub_dataset_is_composed_and_shown(toy: Path, tmp_path: Path) -> None:
    rows = [{"question": f"What is {place}?", "response": f"A {place}."} for place in PLACES]
    files = {
        "README.md": b"---\nlicense: cc0-1.0\n---\n",
        "train.jsonl": "\n".join(map(json.dumps, rows)).encode(),
    }
    repository = Repository()
    repository.commit(files)
    with HubServer({"org/chats": repository}) as hub:
        done = run_process(
            tmp_path, "train", "--data", "hf://org/chats", "-o", "out",
            "--base-model", str(toy), "--show", "1",
            HF_ENDPOINT=hub.url, HF_HOME=str(tmp_path / "hf"), HF_TOKEN="",
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("--- ") == 1
    # Every row as it stands, although the questions are alike.
    store = Store(tmp_path / "out" / "memoirist.duckdb")
    assert len(store.nouns(Conversation)) == len(PLACES)
    assert not store.nouns(Run)


def test_show_may_stand_without_a_number() -> None:
    assert as_values(["train", "--show"]) == ["train", "--show", "3"]
    assert as_values(["train", "--show", "-w", "x"]) == ["train", "--show", "3", "-w", "x"]
    assert as_values(["train", "--show", "7"]) == ["train", "--show", "7"]
    assert as_values(["sql", "--show 1"]) == ["sql", "--show 1"]


def test_what_is_no_dataset_is_refused(memoirist: Command, tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("Once upon a time there was a mill. " * 30, "utf-8")
    done = memoirist("train", "--data", "book.txt", "-o", "out")
    assert done.returncode == 1
    assert "is text; make a persona of it" in done.stderr
    done = memoirist("train", "-o", "out")
    assert "give --data as well" in done.stderr
    done = memoirist("train", "--map", "question=ask")
    assert done.returncode == 1
    assert "--map 'question=ask' is only for a training with --data; give" in done.stderr
    done = memoirist("train", "--data", "nowhere.jsonl")
    assert done.returncode == 1
    assert "nowhere.jsonl" in done.stderr


def test_a_folder_of_other_sources_is_refused(trained: Path) -> None:
    write_rows(trained / "other.jsonl")
    done = run(trained, "train", "--data", "other.jsonl", "-o", "out")
    assert done.returncode == 1
    assert "holds other sources" in done.stderr


def own_terminal() -> None:
    """Make standard input the terminal that this process is controlled by."""
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.mark.slow
def test_a_training_outlives_its_terminal(toy: Path, tmp_path: Path) -> None:
    write_rows(tmp_path / "talks.jsonl")
    store = Store(tmp_path / "out" / "memoirist.duckdb", wait_seconds=20)
    master, slave = pty.openpty()
    arguments = ["train", "--data", "talks.jsonl", "-o", "out", "--base-model", str(toy)]
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "memoirist.flows.cli",
            *arguments,
            *QUICK,
            "--set",
            "train.min_steps=16",
        ],
        cwd=tmp_path,
        env=environment(),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        # The terminal is its own, so that closing it hangs up.
        preexec_fn=own_terminal,
    )
    os.close(slave)
    shown = b""
    while b"steps" not in shown or not list((tmp_path / "out" / "runs").glob("*/progress.jsonl")):
        shown += os.read(master, 4096)
    os.close(master)
    assert process.wait(120) == 0
    (one,) = store.nouns(Run)
    assert one.status == "trained"
    assert store.value("SELECT max(step) FROM metrics WHERE name = 'loss'") == 16
    assert store.value("SELECT count(DISTINCT step) FROM samples") > 2
    # The recipe is the last thing that the command writes.
    assert (tmp_path / "out" / "recipe.toml").exists()


def conversation(name: str, split: str, answer: str) -> Conversation:
    row = Conversation(
        id=name,
        dataset_id="d",
        split="train",
        pair_ids=(),
        messages=[{"role": "user", "content": name}, {"role": "assistant", "content": answer}],
        n_tokens=40,
    )
    return replace(row, split=split)  # type: ignore[arg-type]


def test_the_token_plan_counts_what_the_trainer_will_see(toy: Path, tmp_path: Path) -> None:
    base: PreparedBase = prepare_base(str(toy), tmp_path / "bases")
    rows = [
        *(conversation(f"the {place}", "train", f"It is {place}.") for place in PLACES),
        conversation("why", "validation", "Because."),
        conversation("long", "train", "and so on " * 300),
        conversation("unseen", "test", "Never."),
    ]
    found = preview(rows, base, TrainSettings(epochs=2, max_length=64))
    plan = found.plan
    assert (plan.rows, plan.held_out, plan.dropped) == (12, 1, 1)
    lengths = [len(row.input_ids) for row in found.corpus.train.values()]
    assert plan.tokens == sum(lengths)
    assert plan.longest == max(lengths)
    assert 0 < plan.trained < plan.tokens
    assert (plan.steps, plan.epochs, plan.effective_batch) == (4, 2.0, 8)
    assert "1 too long and left out" in token_lines(plan)[0]
    # Without the base, by what compose has estimated: the same rows and steps.
    guessed = estimated_plan(rows[:12], shape_of(str(toy)), TrainSettings(epochs=2))
    assert (guessed.rows, guessed.tokens, guessed.steps) == (12, 480, 4)


def test_the_shape_is_that_of_the_loaded_model(toy: Path) -> None:
    from transformers import AutoModelForCausalLM

    shape, model = shape_of(str(toy)), AutoModelForCausalLM.from_pretrained(toy)
    assert shape.n_parameters == model.num_parameters()
    inner = sum(w.numel() for name, w in model.named_parameters() if "proj" in name)
    assert (shape.n_linear, shape.width, shape.layers) == (inner, 64, 2)
    assert {name.rsplit(".", 1)[1] for name, *_ in shape.adapted(["q_proj"])} == {"q_proj"}
