"""A run that memory fails, at every moment, and a run of two processes: the same adapter."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from memoirist.data.schema.errors import TrainError
from memoirist.data.schema.records import Conversation
from memoirist.train import qlora
from memoirist.train.loop import launch
from memoirist.train.loop.launch import TrainResult, read_result
from memoirist.train.loop.memory import MemoryBudget, is_out_of_memory
from memoirist.train.model.prepared_base import PreparedBase, prepare_base
from memoirist.train.settings import TrainSettings
from tests.conftest import ROOT, environment

# isort: split


pytestmark = pytest.mark.slow

SETTINGS = TrainSettings(epochs=4, effective_batch=4, save_every=3, answers_per_save=0)
WORDS = "The {} was old, and my father was there." + " We walked on for an hour." * 3
PLACES = "mill river school house garden church bridge harbour field".split()
ROWS = [
    Conversation(
        id=place,
        dataset_id="d",
        split="validation" if place in ("bridge", "harbour") else "train",
        pair_ids=(),
        messages=[
            {"role": "user", "content": f"What of the {place}?"},
            {"role": "assistant", "content": WORDS.format(place)[: 40 + 13 * number]},
        ],
        n_tokens=0,
    )
    for number, place in enumerate(PLACES)
]
OutOfMemory = torch.OutOfMemoryError


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> PreparedBase:
    return prepare_base("tiny", tmp_path_factory.mktemp("workspace") / "bases")


@pytest.fixture(autouse=True)
def own_signals() -> Iterator[None]:
    """Give back what a run takes, since these runs are within the tests' own process."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def prepared(folder: Path, base: PreparedBase, settings: TrainSettings = SETTINGS) -> Path:
    folder.mkdir()
    launch._write_request(folder, ROWS, base, settings)
    return folder


@dataclass(frozen=True)
class Done:
    result: TrainResult
    curve: dict[int, float]


def done(folder: Path) -> Done:
    lines = map(json.loads, (folder / "progress.jsonl").read_text().splitlines())
    curve = {line["step"]: line["loss"] for line in lines if line["loss"] is not None}
    return Done(read_result(folder), curve)


@pytest.fixture(scope="module")
def undisturbed(base: PreparedBase, tmp_path_factory: pytest.TempPathFactory) -> Done:
    folder = prepared(tmp_path_factory.mktemp("runs") / "undisturbed", base)
    assert qlora.run(folder) == 0
    return done(folder)


def assert_same(ours: Done, wanted: Done) -> None:
    assert ours.result.eval_loss == pytest.approx(wanted.result.eval_loss, abs=1e-4)
    assert ours.result.base_eval_loss == pytest.approx(wanted.result.base_eval_loss, abs=1e-4)
    assert ours.curve == pytest.approx(wanted.curve, rel=1e-3)
    assert len(ours.curve) == 8
    assert ours.result.best_step == wanted.result.best_step


def short_of(limits: dict[bool, int]) -> Callable[..., Any]:
    """Return a loader of bases that find no memory for more tokens, in training or evaluation."""

    def load(*arguments: Any, **named: Any) -> Any:
        model = load_base(*arguments, **named)

        def refuse(module: torch.nn.Module, inputs: Any) -> None:
            if inputs[0].shape[:2].numel() > limits[torch.is_grad_enabled()]:
                raise OutOfMemory("CUDA out of memory. Tried to allocate 2.00 GiB")

        model.model.layers[0].register_forward_pre_hook(refuse)
        return model

    return load


load_base = qlora.load_base


def test_a_step_and_an_evaluation_without_memory_are_done_in_smaller_passes(
    base: PreparedBase, undisturbed: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert undisturbed.result.notes == ()
    monkeypatch.setattr(qlora, "load_base", short_of({True: 80, False: 75}))
    folder = prepared(tmp_path / "run", base)
    assert qlora.run(folder) == 0
    ours = done(folder)
    assert_same(ours, undisturbed)
    assert "out of memory at step 1" in ours.result.notes[0]
    kept = json.loads((folder / "memory.json").read_text())["tokens"]
    assert kept <= 80
    # A start after that knows it from the beginning.
    assert MemoryBudget.of_run(folder, 8, 60).tokens == kept


def test_an_optimizer_without_memory_goes_on_from_the_last_checkpoint(
    base: PreparedBase, undisturbed: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, again = [0], []
    step = torch.optim.AdamW.step

    def moving(optimizer: Any, *arguments: Any, **named: Any) -> Any:
        calls[0] += 1
        step(optimizer, *arguments, **named)
        if calls[0] == 5:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")

    monkeypatch.setattr(torch.optim.AdamW, "step", moving)
    monkeypatch.setattr(qlora.os, "execv", lambda *command: again.append(command) or 7)
    folder = prepared(tmp_path / "run", base)
    assert qlora.run(folder) == 7
    assert again[0][1][1:] == ["-m", "memoirist.train.qlora", str(folder)]
    assert qlora.run(folder) == 0
    # Eight steps, the two after the checkpoint at 3 once more.
    assert calls == [10]
    assert_same(done(folder), undisturbed)


def test_one_row_without_memory_is_told_and_other_errors_are_not_taken_for_it(
    base: PreparedBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qlora, "load_base", short_of({True: 10, False: 1000}))
    folder = prepared(tmp_path / "run", base)
    with pytest.raises(
        TrainError, match=r"a single row of up to \d+ tokens does not fit into memory"
    ):
        qlora.run(folder)
    assert not is_out_of_memory(RuntimeError("shapes differ"))
    assert not is_out_of_memory(ValueError("out of memory"))
    assert is_out_of_memory(MemoryError())


def test_two_processes_train_what_one_does(
    base: PreparedBase, undisturbed: Done, tmp_path: Path
) -> None:
    folder = prepared(tmp_path / "run", base)
    launched = subprocess.run(
        [
            *(sys.executable, "-m", "accelerate.commands.launch", "--cpu"),
            *("--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no"),
            *("--dynamo_backend", "no", "--main_process_port", "0"),
            *("-m", "memoirist.train.qlora", str(folder)),
        ],
        cwd=ROOT,
        env=environment(OMP_NUM_THREADS="1"),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert launched.returncode == 0, launched.stderr[-3000:]
    assert_same(done(folder), undisturbed)


def test_several_gpus_are_launched_together_and_one_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,2,3")
    assert launch.gpu_count() == 3
    several = launch.command(tmp_path, 3)
    assert several[several.index("--num_processes") + 1] == "3"
    assert several[-3:] == ["-m", "memoirist.train.qlora", str(tmp_path)]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert launch.gpu_count() == 0
    assert launch.command(tmp_path, 0) == [
        sys.executable,
        "-m",
        "memoirist.train.qlora",
        str(tmp_path),
    ]


def test_processes_that_ran_out_of_memory_are_started_again(
    base: PreparedBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, started = prepared(tmp_path / "run", base), []

    def start(run: Path, output: int) -> subprocess.Popen[bytes]:
        started.append(run)
        code = "raise SystemExit(75)"
        if len(started) == 1:
            (run / "memory.json").write_text('{"tokens": 40}')
        return subprocess.Popen([sys.executable, "-c", code])

    monkeypatch.setattr(launch, "_start", start)
    # The second one ends without having come down any further.
    with pytest.raises(TrainError, match="ended without a result"):
        launch.train(folder, ROWS, base, SETTINGS)
    assert len(started) == 2
