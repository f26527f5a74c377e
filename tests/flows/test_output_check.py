"""What a flag may write to: never over the workspace or the sources, over a file with --force."""

from __future__ import annotations

import inspect
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from memoirist.data.samples import SOURCES
from memoirist.data.schema.errors import MemoiristError
from memoirist.data.store.store import Store
from memoirist.flows.cli.main import COMMANDS
from memoirist.flows.cli.model_commands import models
from memoirist.flows.cli.options import with_flags
from memoirist.flows.cli.output_check import check_export_folder, check_output_file
from memoirist.flows.models.dataset_folder import CARD, FILES
from memoirist.flows.runtime.context import open_context
from tests.conftest import EDITH, Command, run

# Each command that writes to a file of the user's, but for the path.
WRITERS = {
    "export": ["export", "-o"],
    "evaluate": ["evaluate", "--sheet"],
    "models export": ["models", "export", "--to", "ollama", "-o"],
    "validate": ["validate", "rows.jsonl", "--fix"],
}
# The parameters of all commands that are paths or words: a new one belongs into one of these sets,
# and one that names a file or folder to write to into WRITERS, or among the folders' tests.
WRITTEN = {
    ("export", "output"), ("evaluate", "sheet"), ("models export", "output"), ("validate", "fix"),
    ("train", "output"),
}  # fmt: skip
READ = {"workspace", "recipe", "read_sheet"}
WORDS = {
    "sources", "source", "password", "assigned", "what_if", "data", "message", "run", "system",
    "what", "subject", "first", "second", "query", "split", "version", "file", "names", "dataset",
    "api_key",
}  # fmt: skip
ROWS = '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compose a copy of the samples' dataset, in a folder that is a source as a whole."""
    folder = tmp_path_factory.mktemp("composed")
    (folder / "texts").mkdir()
    shutil.copy(SOURCES[2], folder / "texts" / "exchanges.jsonl")
    for step in (["extract", "texts", *EDITH], ["curate"], ["compose"]):
        done = run(folder, *step)
        assert done.returncode == 0, done.stderr
    (folder / "rows.jsonl").write_text(ROWS + ROWS.replace("a", "c").replace("}\n", ', "x": 1}\n'))
    return folder


def _parameters() -> Iterator[tuple[str, inspect.Parameter, Any]]:
    """Yield the own parameters of every command, with their types; a recipe's key is no path."""
    commands: dict[str, Any] = {name: with_flags(command) for name, command in COMMANDS.items()}
    for registered in models.registered_commands:
        assert registered.callback is not None
        commands[f"models {registered.name or registered.callback.__name__}"] = registered.callback
    for name, command in commands.items():
        for parameter in inspect.signature(command, eval_str=True).parameters.values():
            if not parameter.name.startswith("flag_"):
                yield name, parameter, (get_args(parameter.annotation) or [None])[0]


def test_no_flag_that_writes_is_forgotten() -> None:
    """The tests of this file go through all flags that name something to write."""
    paths = {(name, p.name) for name, p, kind in _parameters() if "Path" in str(kind)}
    assert {(name, parameter) for name, parameter in paths if parameter not in READ} == WRITTEN
    words = {p.name for _, p, kind in _parameters() if kind in {str, str | None, list[str]}}
    assert words | {"sources", "password", "assigned", "what_if", "data"} == WORDS
    # One flag stands for all: whatever writes asks before it overwrites.
    writers = {name for name, _ in WRITTEN}
    assert {name for name, p, _ in _parameters() if p.name == "force"} == writers
    assert {*WRITERS, "train"} == writers


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
    own += [workspace / "memoirist.duckdb.wal", workspace / "feeds" / "a" / "feed.json"]
    own += [workspace / place / "made.bin" for place in ("bases", "ocr", "reports", "runs")]
    for path in own[3:]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("own")
    links = [tmp_path / f"link{n}.jsonl" for n in range(6)]
    for link, path in zip(links, (own[0], own[4], own[5]), strict=False):
        link.hardlink_to(path)
    links[3].symlink_to(own[5])
    (tmp_path / "folder").symlink_to(workspace / "runs")
    links[4:] = [tmp_path / "folder" / "made.bin", composed / "texts/../workspace/runs/made.bin"]
    for path in (*own, *links):
        assert "belongs to the workspace" in _refused(
            composed, path, *command, str(path), "--force"
        )
    own[3].unlink()
    # A disk may not tell capitals from small letters; the log need not be there yet.
    for name in ("MEMOIRIST.DuckDB", "memoirist.duckdb.wal", "Runs/a.jsonl", "serve.log"):
        done = run(composed, *command, str(workspace / name), "--force")
        assert "belongs to the workspace" in done.stderr
    elsewhere = run(composed, *command, str(own[0]), "--force", "-w", str(tmp_path / "other"))
    assert "belongs to the workspace" in elsewhere.stderr
    source = composed / "texts" / "exchanges.jsonl"
    link = tmp_path / "source.jsonl"
    link.hardlink_to(source)
    symlink = tmp_path / "symlink.jsonl"
    symlink.symlink_to(source)
    for path in (source, link, symlink):
        assert "is a source, or is in" in _refused(composed, path, *command, str(path), "--force")
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
    if writer in {"export", "validate"}:
        assert done.returncode == int(writer == "validate"), done.stderr
        assert all(json.loads(line) for line in path.read_text("utf-8").splitlines())
        rows = Store(composed / "workspace" / "memoirist.duckdb").rows("SELECT id FROM sources")
        assert rows
        (composed / "empty.jsonl").touch()
        assert run(composed, *command, "empty.jsonl").returncode == done.returncode


def test_no_command_writes_over_what_it_reads(composed: Path) -> None:
    sheet = composed / "sheet.csv"
    sheet.write_text("filled in", "utf-8")
    both = ("evaluate", "--read-sheet", "sheet.csv", "--sheet", "sheet.csv", "--force")
    assert "this command reads" in _refused(composed, sheet, *both)


def test_a_folder_with_the_workspace_or_sources_is_no_export(composed: Path) -> None:
    workspace = composed / "workspace"
    (workspace / "exports" / "held").mkdir(parents=True)
    (workspace / "exports" / "held" / "data").symlink_to(workspace / "runs")
    (composed / "linked").symlink_to(composed)
    (composed / "to_texts").symlink_to(composed / "texts")
    refusals = {
        ".": "contains the workspace",
        "linked": "contains the workspace",
        "texts/..": "contains the workspace",
        "workspace": "is the workspace itself",
        "workspace/feeds": "belongs to the workspace",
        "workspace/exports/held": "belongs to the workspace",
        "texts": "contains sources",
        "to_texts/new": "in a folder of sources",
    }
    before = sorted(composed.rglob("*"))
    for name, reason in refusals.items():
        done = run(composed, "export", "--format", "hf", "-o", name, "--force")
        assert done.returncode == 1, name
        assert reason in done.stderr, name
    train = ["train", "--data", "texts/exchanges.jsonl", "--force", "-o"]
    done = run(composed, *train, "workspace/runs/new")
    assert "belongs to a workspace itself" in done.stderr
    assert sorted(composed.rglob("*")) == before


def test_a_training_does_not_mix_with_other_files(memoirist: Command, tmp_path: Path) -> None:
    (tmp_path / "talks.txt").write_text("No dataset.", "utf-8")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine", "utf-8")
    (tmp_path / "mine" / "runs").mkdir()  # not every such folder is a workspace's
    train = ["train", "--data", "talks.txt", "-o"]
    assert "contains other files" in memoirist(*train, "mine").stderr
    other_flag = memoirist(*train[:-1], "-w", "mine")
    assert (other_flag.returncode, other_flag.stderr.count("\n")) == (1, 1)
    assert "the folder 'mine' contains other files" in other_flag.stderr
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "recipe.toml").write_text("", "utf-8")  # a workspace may begin with it
    assert "contains other files" not in memoirist(*train[:-1], "-w", "new").stderr
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
    assert "not a regular file" in done.stderr


def test_a_second_export_of_a_model_asks_too(tmp_path: Path) -> None:
    from tests.support.talk_workspace import RUN, workspace

    made = workspace(tmp_path)
    path = made.workspace.exports / RUN / "Modelfile"
    path.parent.mkdir(parents=True)
    path.write_text("FROM mine", "utf-8")
    command = ("models", "export", "--to", "ollama", "-w", str(made.workspace.root))
    assert "exists already" in _refused(tmp_path, path, *command)
    done = run(tmp_path, *command, "--force")
    assert "exists already" not in done.stderr


def test_a_file_in_the_place_of_the_rows_folder_is_refused_before_anything_is_removed(
    tmp_path: Path,
) -> None:
    context, folder = open_context(tmp_path / "workspace"), tmp_path / "hf"
    folder.mkdir()
    place = folder / "data"
    place.write_text("mine", "utf-8")
    with pytest.raises(MemoiristError, match=r"hf/data' is a file; choose another folder"):
        check_export_folder(context, folder, [CARD, *FILES.values()], force=True)
    place.unlink()
    place.symlink_to(tmp_path / "nothing")
    with pytest.raises(MemoiristError, match=r"hf/data' is a file"):
        check_export_folder(context, folder, [CARD, *FILES.values()], force=True)
    place.unlink()
    place.mkdir()
    check_export_folder(context, folder, [CARD, *FILES.values()], force=True)


def test_the_path_that_is_checked_is_the_path_that_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the shell leaves as ~, as in --fix=~/x.jsonl, is a folder's name to the writers."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "~").mkdir()
    (tmp_path / "~" / "x.jsonl").write_text("mine", "utf-8")
    with pytest.raises(MemoiristError, match="exists already"):
        check_output_file(open_context(tmp_path / "workspace"), Path("~/x.jsonl"), force=False)


@pytest.mark.parametrize("name", ["loop", "loop/x.jsonl", "first"])
def test_a_link_to_itself_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "first").symlink_to(tmp_path / "second")
    (tmp_path / "second").symlink_to(tmp_path / "first")
    context, refusal = open_context(tmp_path / "workspace"), "link to itself; choose another path"
    with pytest.raises(MemoiristError, match=refusal):
        check_output_file(context, tmp_path / name, force=True)
    with pytest.raises(MemoiristError, match=refusal):
        check_export_folder(context, tmp_path / name, FILES.values(), force=True)
