"""Fixtures: a fresh workspace, the command line as a child process, the test corpora."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from data.samples import PERSONA, SOURCES
from data.store.store import Store

ROOT = Path(__file__).parent.parent
CORPORA = Path(os.environ.get("MEMOIRIST_CORPORA", ROOT.parent / "shared" / "corpora"))

EDITH = ("--persona", PERSONA)

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def corpora() -> Path:
    if not CORPORA.is_dir():
        pytest.skip("the test corpora are not here; set MEMOIRIST_CORPORA to their folder")
    return CORPORA


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "memoirist.duckdb")


def environment(**extra: str) -> dict[str, str]:
    """Return this environment without any endpoint, so that no test calls a real one."""
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith(("OPENAI_", "MEMOIRIST_", "HF_"))
    }
    return {**kept, "COLUMNS": "200", **extra}


@pytest.fixture
def memoirist(tmp_path: Path) -> Command:
    """Run `memoirist ARGUMENTS` in `tmp_path`, whose workspace is `tmp_path/workspace`."""

    def here(
        *arguments: str, timeout: float = 240, **extra: str
    ) -> subprocess.CompletedProcess[str]:
        return run(tmp_path, *arguments, timeout=timeout, **extra)

    return here


def run(
    folder: Path, *arguments: str, timeout: float = 600, **extra: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments],
        cwd=folder,
        env=environment(PYTHONPATH=str(ROOT), **extra),
        capture_output=True,
        text=True,
        timeout=timeout,
        stdin=subprocess.DEVNULL,
        check=False,
    )


# A shorter training, fewer and shorter answers than a user gets: they would take most of the time.
QUICK = (
    "train.epochs=1",
    "train.save_every=4",
    "train.answers_per_save=2",
    "evaluate.max_new_tokens=64",
    "evaluate.few_shot_words=150",
)
# Where the rows are the question, and not what was learnt.
HURRIED = (
    "train.epochs=0.1",
    "train.save_every=100",
    "train.answers_per_save=0",
    "merge.prompts=2",
    "evaluate.questions=2",
    "evaluate.max_new_tokens=8",
    "evaluate.few_shot=0",
    "evaluate.abilities=false",
)


def sets(*settings: str) -> list[str]:
    """Return the flags that put settings into the recipe."""
    return [f"--set={each}" for each in settings]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Build the bundled samples once, for real, and return a copy of the folder with the workspace.

    The processes that share the tests share the build too: the first one makes it.
    """
    shared = tmp_path_factory.getbasetemp()
    if worker_id != "master":
        shared = shared.parent
    folder = shared / "built"
    with FileLock(shared / "built.lock"):
        if not (folder / "stdout.txt").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            done = run(folder, "build", *map(str, SOURCES), *EDITH, *sets(*QUICK))
            assert done.returncode == 0, done.stderr
            (folder / "stderr.txt").write_text(done.stderr, "utf-8")
            (folder / "stdout.txt").write_text(done.stdout, "utf-8")
    mine = tmp_path_factory.mktemp("mine") / "built"
    shutil.copytree(folder, mine)
    return mine


# What takes minutes comes first, so that the processes that share the tests end together.
LONGEST = (
    "test_build_killed.py",
    "test_cli.py",
    "test_build.py",
    "test_train_families.py",
    "test_train_run.py",
    "test_train_toys.py",
    "test_train_command.py",
    "test_web.py",
    "test_evaluate.py",
    "test_models.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda each: order.get(each.path.name, len(order)))
