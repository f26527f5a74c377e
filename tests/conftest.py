"""Fixtures: a fresh workspace, the command line, the test corpora."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from filelock import FileLock

from memoirist.data.samples import PERSONA, SOURCES
from memoirist.data.store.store import Store
from tests.support.command import ROOT, environment, run, run_process
from tests.support.model_hub import TOKEN, ModelHub
from tests.support.training import Fork

__all__ = ["ROOT", "environment", "run", "run_process"]

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


@pytest.fixture(scope="session", autouse=True)
def forked_trainings() -> Iterator[None]:
    """Fork the trainings that are started in this process; on a GPU they start as ever."""
    from memoirist.train.loop import launch
    from memoirist.train.loop.launch import gpu_count

    start = launch._start

    def fork(folder: Path, output: int) -> object:
        return start(folder, output) if gpu_count() else Fork(folder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "_start", fork)
        yield


@pytest.fixture
def memoirist(tmp_path: Path) -> Command:
    """Call `memoirist ARGUMENTS` in `tmp_path`, whose workspace is `tmp_path/workspace`."""
    return partial(run, tmp_path)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelHub]:
    """Stand in for the hub that `push` saves to."""
    import huggingface_hub.constants as constants

    with ModelHub() as hub:
        # The library reads its environment once, when it is imported.
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub


# A shorter training, fewer and shorter answers than a user gets: they would take most of the time.
QUICK = (
    "train.epochs=0.5",
    "train.save_every=2",
    "train.answers_per_save=1",
    "merge.prompts=12",
    "evaluate.max_new_tokens=32",
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


class Ladder:
    """Workspaces of the bundled samples, each made once and for all processes of a test run.

    A rung is a folder with its `workspace`; who needs one gets a copy.
    """

    def __init__(self, factory: pytest.TempPathFactory, worker: str) -> None:
        base = factory.getbasetemp()
        self.factory = factory
        self.shared = base if worker == "master" else base.parent

    def rung(self, name: str, make: Callable[[Path], None]) -> Path:
        """Return a copy of the rung `name`, which `make` has put into an empty folder."""
        folder, made = self.shared / name, self.shared / f"{name}.made"
        with FileLock(self.shared / f"{name}.lock"):
            if not made.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
                made.touch()
        return Path(shutil.copytree(folder, self.factory.mktemp(name) / name))

    def climb(self, name: str, below: str, *arguments: str) -> Path:
        """Return a copy of the rung that a command makes of the one below it."""

        def make(folder: Path) -> None:
            if below:
                shutil.copytree(self.shared / below, folder, dirs_exist_ok=True)
            done = run(folder, *arguments)
            assert done.returncode == 0, done.stderr

        return self.rung(name, make)


@pytest.fixture(scope="session")
def ladder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Ladder:
    return Ladder(tmp_path_factory, worker_id)


@pytest.fixture(scope="session")
def extracted(ladder: Ladder) -> Path:
    return ladder.climb("extracted", "", "extract", *map(str, SOURCES), *EDITH)


@pytest.fixture(scope="session")
def asked(ladder: Ladder, extracted: Path) -> Path:
    return ladder.climb("asked", "extracted", "ask")


@pytest.fixture(scope="session")
def curated(ladder: Ladder, asked: Path) -> Path:
    return ladder.climb("curated", "asked", "curate")


@pytest.fixture(scope="session")
def composed(ladder: Ladder, curated: Path) -> Path:
    return ladder.climb("composed", "curated", "compose")


@pytest.fixture(scope="session")
def built(ladder: Ladder) -> Path:
    """Build the samples to the end: as a process of its own with a Prefect server of its own."""

    def make(folder: Path) -> None:
        done = run_process(folder, "build", *map(str, SOURCES), *EDITH, *sets(*QUICK), timeout=900)
        assert done.returncode == 0, done.stderr
        (folder / "stderr.txt").write_text(done.stderr, "utf-8")
        (folder / "stdout.txt").write_text(done.stdout, "utf-8")

    return ladder.rung("built", make)


# What takes minutes comes first, so that the processes that share the tests end together.
LONGEST = (
    "test_build.py",
    "test_training_run.py",
    "test_build_killed.py",
    "test_train_command.py",
    "test_models.py",
    "test_web.py",
    "test_evaluate.py",
    "test_readme.py",
    "test_out_of_memory.py",
    "test_model_families.py",
    "test_random_bases.py",
    "test_cli.py",
    "test_changed_sources.py",
)


def pytest_configure() -> None:
    """Hear Ctrl-C, and let children hear it, although a shell's background job is born deaf."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        # A whole build stands below these, a training or a server of models below those.
        if "built" in fixtures:
            item.add_marker(pytest.mark.slow)
        elif fixtures & {"trained", "served"}:
            item.add_marker(pytest.mark.medium)
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            # Ten times what it takes alone: other programs may share the machine.
            item.add_marker(pytest.mark.timeout(900))
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda each: order.get(each.path.name, len(order)))
