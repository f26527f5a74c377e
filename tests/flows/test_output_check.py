"""What a flag may write to: never over the workspace or the sources, over a file with --force."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from memoirist.data.samples import SOURCES
from memoirist.data.store.store import Store
from tests.conftest import EDITH, Command, run

# Each command that writes to a path of the user's, but for the path.
WRITERS = {
    "export": ["export", "-o"],
    "evaluate": ["evaluate", "--sheet"],
    "models export": ["models", "export", "--to", "ollama", "-o"],
}


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compose a copy of the samples' dataset, in a folder that is a source as a whole."""
    folder = tmp_path_factory.mktemp("composed")
    (folder / "texts").mkdir()
    shutil.copy(SOURCES[2], folder / "texts" / "exchanges.jsonl")
    for step in (["extract", "texts", *EDITH], ["curate"], ["compose"]):
        done = run(folder, *step)
        assert done.returncode == 0, done.stderr
    return folder


def _refused(folder: Path, path: Path, *arguments: str) -> str:
    """Assert that a command fails in one line and leaves a file as it was; return the line."""
    before = path.read_bytes()
    done = run(folder, *arguments)
    assert done.returncode == 1, done.stderr
    assert path.read_bytes() == before
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("memoirist: ")]
    return line


@pytest.mark.parametrize("writer", WRITERS)
def test_own_files_and_sources_are_refused_even_with_force(
    composed: Path, tmp_path: Path, writer: str
) -> None:
    command = WRITERS[writer]
    workspace = composed / "workspace"
    own = [workspace / "memoirist.duckdb", workspace / "recipe.toml", workspace / ".lock"]
    link = tmp_path / "link.jsonl"
    link.hardlink_to(workspace / "memoirist.duckdb")
    for path in (*own, link):
        assert "belongs to the workspace" in _refused(
            composed, path, *command, str(path), "--force"
        )
    source = composed / "texts" / "exchanges.jsonl"
    assert "is one of the sources" in _refused(composed, source, *command, str(source), "--force")
    beside = composed / "texts" / "notes.txt"
    beside.write_text("Not read yet.", "utf-8")
    line = _refused(composed, beside, *command, str(beside), "--force")
    assert "in a folder of sources" in line
    done = run(composed, *command, str(workspace / "runs" / "new.jsonl"), "--force")
    assert "belongs to the workspace" in done.stderr


@pytest.mark.parametrize("writer", WRITERS)
def test_a_file_is_overwritten_with_force_alone(
    composed: Path, tmp_path: Path, writer: str
) -> None:
    command = WRITERS[writer]
    path = composed / "mine.txt"
    path.write_text("mine", "utf-8")
    assert "--force" in _refused(composed, path, *command, "mine.txt")
    done = run(composed, *command, "texts")
    assert "is a folder; name a file in it" in done.stderr
    # What stops it then is another matter: without a model only `export` has something to write.
    done = run(composed, *command, "mine.txt", "--force")
    assert "exists already" not in done.stderr
    if writer == "export":
        assert done.returncode == 0, done.stderr
        assert all(json.loads(line) for line in path.read_text("utf-8").splitlines())
        rows = Store(composed / "workspace" / "memoirist.duckdb").rows("SELECT id FROM sources")
        assert rows
        (composed / "empty.jsonl").touch()
        assert run(composed, *command, "empty.jsonl").returncode == 0


def test_a_training_does_not_mix_with_other_files(memoirist: Command, tmp_path: Path) -> None:
    (tmp_path / "talks.txt").write_text("No dataset.", "utf-8")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine", "utf-8")
    (tmp_path / "mine" / "runs").mkdir()  # not every such folder is a workspace's
    train = ["train", "--data", "talks.txt", "-o"]
    assert "holds other files" in memoirist(*train, "mine").stderr
    other_flag = memoirist(*train[:-1], "-w", "mine")
    assert (other_flag.returncode, other_flag.stderr.count("\n")) == (1, 1)
    assert "the folder 'mine' holds other files" in other_flag.stderr
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "recipe.toml").write_text("", "utf-8")  # a workspace may begin with it
    assert "holds other files" not in memoirist(*train[:-1], "-w", "new").stderr
    assert "is a file" in _refused(tmp_path, tmp_path / "talks.txt", *train, "talks.txt", "--force")
    # From there on the source itself is looked at.
    for arguments in (("mine", "--force"), ("new",)):
        assert "--data takes datasets" in memoirist(*train, *arguments).stderr
    assert (tmp_path / "mine" / "thesis.txt").read_text("utf-8") == "mine"


@pytest.mark.parametrize("writer", WRITERS)
def test_new_files_among_the_sources_and_devices_are_refused(composed: Path, writer: str) -> None:
    done = run(composed, *WRITERS[writer], str(composed / "texts" / "new.jsonl"))
    assert done.returncode == 1
    assert "in a folder of sources" in done.stderr
    assert not (composed / "texts" / "new.jsonl").exists()
    pipe = composed / "pipe"
    os.mkfifo(pipe)
    done = run(composed, *WRITERS[writer], str(pipe), "--force")
    pipe.unlink()
    assert done.returncode == 1
    assert "no ordinary file" in done.stderr
