"""A training that is killed three times at random steps, beside one that nobody disturbed.

Wanted: the same held-out loss within 1e-4 and the same loss at every step. With dropout, so that
the state of the random numbers counts as well.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.training import ROOT, pairs

KILLS, LIMIT = 3, 1e-4


def main(seed: int = 1) -> None:
    """Train twice, kill one of them, and print how far they are apart."""
    from memoirist.data.schema.records import Conversation
    from memoirist.train.loop import launch
    from memoirist.train.model.prepared_base import prepare_base
    from memoirist.train.settings import TrainSettings

    rows = [
        Conversation(
            id=str(number),
            dataset_id="d",
            split="validation" if number < 8 else "train",
            pair_ids=(),
            messages=messages,
            n_tokens=0,
        )
        for number, messages in enumerate(pairs())
    ]
    settings = TrainSettings(epochs=4, save_every=3, dropout=0.1, answers_per_save=0)
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        base = prepare_base("tiny", Path(name) / "bases")
        whole = launch.train(Path(name) / "undisturbed", rows, base, settings)
        folder = Path(name) / "killed"
        folder.mkdir()
        launch._write_request(folder, rows, base, settings)
        at = sorted(chance.sample(range(2, whole.steps), KILLS))
        for step in at:
            _kill(folder, step)
        result = launch.train(folder, rows, base, settings)
        apart = abs((result.eval_loss or 0) - (whole.eval_loss or 1))
        ours, theirs = _curve(folder), _curve(folder.with_name("undisturbed"))
        curve = max(abs(ours[step] - theirs[step]) for step in theirs)
    sys.stdout.write(
        f"killed at steps {at} of {whole.steps}: held-out loss {result.eval_loss:.6f} beside"
        f" {whole.eval_loss:.6f}, {apart:.1e} apart (wanted: at most {LIMIT}); losses of the steps"
        f" at most {curve:.1e} apart, {len(ours)} of {len(theirs)} steps\n"
    )
    if apart > LIMIT or ours.keys() != theirs.keys() or result.best_step != whole.best_step:
        sys.exit("a killed training is not the undisturbed one")


def _kill(folder: Path, step: int) -> None:
    """Train until `step` is logged and kill the process in the middle of the next one."""
    process = subprocess.Popen(
        [sys.executable, "-m", "memoirist.train.qlora", str(folder)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while process.poll() is None and max(_curve(folder), default=0) < step:
        time.sleep(0.02)
    if process.poll() is not None:
        sys.exit(f"the training ended by itself before step {step}")
    process.kill()
    process.wait()


def _curve(folder: Path) -> dict[int, float]:
    """Return the loss of each step; of one that was done twice, the later."""
    found: dict[int, float] = {}
    try:
        lines = (folder / "progress.jsonl").read_text("utf-8").splitlines()
    except OSError:
        return found
    for line in lines:
        try:
            told: dict[str, Any] = json.loads(line)
        except ValueError:
            continue
        if told["loss"] is not None:
            found[told["step"]] = told["loss"]
    return found


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
