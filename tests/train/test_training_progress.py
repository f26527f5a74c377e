"""The course of a training: answers at each save, the curve, the store and what a UI is shown."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from memoirist.data.schema.records import Metric, Run, Sample
from memoirist.flows import recipe as recipes
from memoirist.flows.runtime.context import Context
from memoirist.flows.runtime.report import Report, format_duration
from memoirist.flows.runtime.training_monitor import (
    PrefectArtifacts,
    TrainingMonitor,
    progress_page,
    progress_text,
    sample_rows,
    sparkline,
)
from memoirist.flows.runtime.workspace import Workspace
from memoirist.train.loop.run_folder import Progress, read_progress, read_samples
from memoirist.train.loop.trainer import choose_prompts
from memoirist.train.model.prepared_base import prepare_base
from memoirist.train.qlora import run
from memoirist.train.settings import TrainSettings
from tests.train.test_random_bases import random_base

# isort: split


OWN = "Why is the river brown?"
SETTINGS = TrainSettings(
    epochs=4, save_every=2, effective_batch=2, answers_per_save=3, answer_tokens=6, prompts=[OWN]
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Train a toy in this process, in a workspace's run folder, and put the signals back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    root = tmp_path_factory.mktemp("course")
    base = prepare_base(str(random_base(root / "random", 64, True)), root / "bases")
    run_folder = root / "runs" / "toy"
    run_folder.mkdir(parents=True)
    rows = [
        {"id": name, "split": split, "messages": messages(name)}
        for name, split in (("mill", "train"), ("bridge", "train"), ("ferry", "validation"))
    ]
    (run_folder / "conversations.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    request = {
        "settings": SETTINGS.model_dump(),
        "base_path": str(base.path),
        "base_hash": base.hash,
    }
    (run_folder / "train.json").write_text(json.dumps(request), "utf-8")
    assert run(run_folder) == 0
    yield run_folder
    for number, handler in before.items():
        signal.signal(number, handler)


def messages(name: str) -> list[dict[str, str]]:
    return [
        {"role": "system", "content": "You are Ada."},
        {"role": "user", "content": f"What of the {name}?"},
        {"role": "assistant", "content": f"The {name} is old."},
    ]


def test_the_same_prompts_are_answered_before_and_at_each_save(folder: Path) -> None:
    samples = read_samples(folder)
    assert sorted({sample.step for sample in samples}) == [0, 2, 4]
    kinds = {sample.prompt: sample.kind for sample in samples if sample.step == 4}
    assert kinds.pop("What of the ferry?") == "held_out"
    assert kinds.pop(OWN) == "own"
    assert set(kinds.values()) == {"general"}
    assert len(kinds) == 2
    assert all(sample.run_id == "toy" and sample.seconds > 0 for sample in samples)
    # Greedy, in short, and of a model that has moved since.
    now = sample_rows(samples)
    assert [set(row) for row in now] == [{"kind", "prompt", "base", "step 4"}] * 4
    assert any(row["base"] != row["step 4"] for row in now)


def test_a_torn_line_and_a_step_done_twice_do_no_harm(folder: Path, tmp_path: Path) -> None:
    lines = (folder / "samples.jsonl").read_text("utf-8")
    again = json.dumps({**json.loads(lines.splitlines()[-1]), "answer": "later"})
    (tmp_path / "samples.jsonl").write_text(f'{lines}{again}\n{{"step": 6, "pro', "utf-8")
    samples = read_samples(tmp_path)
    assert len(samples) == len(read_samples(folder))
    assert "later" in {sample.answer for sample in samples}
    assert read_samples(tmp_path / "nowhere") == []


def test_trained_questions_stand_in_where_nothing_is_held_out(tmp_path: Path) -> None:
    rows = tmp_path / "conversations.jsonl"
    row = {"id": "a", "split": "train", "messages": messages("mill")}
    text = {"id": "b", "split": "train", "messages": [{"role": "assistant", "content": "Once."}]}
    rows.write_text("\n".join(map(json.dumps, (row, text))), "utf-8")
    found = choose_prompts(rows, TrainSettings(answers_per_save=2))
    assert [(prompt.kind, prompt.text) for prompt in found] == [
        ("trained", "What of the mill?"),
        ("general", "Who are you?"),
    ]
    assert found[1].messages[0] == {"role": "system", "content": "You are Ada."}
    assert choose_prompts(rows, TrainSettings(answers_per_save=0)) == []
    # Raw text alone asks nothing: the general questions are left.
    rows.write_text(json.dumps(text), "utf-8")
    assert {prompt.kind for prompt in choose_prompts(rows, TrainSettings())} == {"general"}


def test_the_store_and_the_plot_follow_the_run(folder: Path) -> None:
    context = Context(Workspace(folder.parents[1]), recipes.load(None, {}), Report(quiet=True))
    shown: list[tuple[int, int, str]] = []
    watch = TrainingMonitor(
        context.workspace, "toy", lambda *told: shown.append(told), context.artifacts
    )
    lines = read_progress(folder)
    for line in lines:
        watch(line)
        if line.eval_loss is not None:
            # At a save everything so far is in the store, while the training goes on.
            steps = context.workspace.store.nouns(Metric, "name = 'loss'")
            assert max(metric.step for metric in steps) == line.step
    assert context.workspace.store.nouns(Sample) == read_samples(folder)
    with context.workspace.store.writing() as tx:
        tx.upsert([Run(
            id="toy", dataset_id="d", base_model="tiny", recipe="{}", seed=1, status="training",
            started_at=datetime.now(UTC),
        )])  # fmt: skip
    (seen,) = context.workspace.store.rows("SELECT * FROM trainings")
    assert (seen["step"], seen["total_steps"], seen["seconds_left"]) == (4, 4, 0)
    assert seen["held_out_loss"] == next(
        line.eval_loss for line in reversed(lines) if line.eval_loss is not None
    )
    assert seen["memory_mb"] > 0
    assert (folder / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert len(shown) == len(lines) == 6
    assert {"loss", "tokens/s", "MB", "left"} <= set(shown[0][2].replace(",", "").split())
    told = progress_page("toy", lines)
    assert "Step 4 of 4" in told
    assert "| 2 | " in told


def test_a_sparkline_is_as_high_as_its_values() -> None:
    assert sparkline([8.0, 4.0, 0.0]) == "█▅▁"
    assert len(sparkline([1.0] * 1000)) == 59
    assert sparkline([]) == ""


def test_time_left_is_told_as_a_clock() -> None:
    line = Progress(
        step=1,
        total_steps=9,
        loss=1.5,
        eval_loss=None,
        tokens_per_second=1234.5,
        seconds_left=3700.0,
        memory_mb=950.0,
    )
    assert progress_text(line) == "loss 1.500, 1,234 tokens/s, 950 MB, 1:01:40 left"


def test_a_short_time_is_told_in_seconds() -> None:
    assert [format_duration(each) for each in (0.4, 9.6, 59.4, 59.6, 163)] == [
        "0 s", "10 s", "59 s", "0:01:00", "0:02:43",
    ]  # fmt: skip


def test_a_server_that_has_gone_is_told_once() -> None:
    warned: list[str] = []
    artifacts = PrefectArtifacts(warned.append)

    for _ in range(2):
        with artifacts._guarded():
            raise ConnectionError
    assert warned == ["Prefect cannot show the training (ConnectionError); the training continues"]
