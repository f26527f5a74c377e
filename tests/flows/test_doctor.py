"""`doctor -w`: what is wrong with a store, one line each with its next step; nothing is written."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from memoirist.data.store.store import Store
from memoirist.flows.doctor import Finding, _store
from memoirist.flows.runtime.context import open_context
from tests.conftest import run


@pytest.fixture
def folder(composed: Path, tmp_path: Path) -> Path:
    """Return a folder with a workspace of its own, whose dataset is composed."""
    shutil.copytree(composed / "workspace", tmp_path / "workspace")
    return tmp_path


def findings(folder: Path) -> list[Finding]:
    """Return what the doctor finds of the store; the files stay as they are."""
    workspace = folder / "workspace"
    before = {path: path.stat().st_mtime_ns for path in workspace.glob("memoirist.duckdb*")}
    found = list(_store(open_context(workspace)))
    after = {path: path.stat().st_mtime_ns for path in workspace.glob("memoirist.duckdb*")}
    assert after == before
    assert all(finding.next_step for finding in found if finding.state == "look")
    return found


def faults(folder: Path) -> list[str]:
    return [found.finding for found in findings(folder) if found.state == "look"]


def test_a_whole_store_has_no_fault(folder: Path) -> None:
    told = [found.finding for found in findings(folder)]
    assert faults(folder) == []
    assert told[1].startswith("its tables have version 0")
    assert told[2].endswith("tables can be read")
    done = run(folder, "doctor", "-w", "workspace", "--format", "json")
    assert done.returncode == 0, done.stderr
    stores = [row for row in json.loads(done.stdout) if row["what"] == "store"]
    assert [row["finding"] for row in stores][1:] == told[1:]


def test_a_finished_build_has_no_fault(built: Path) -> None:
    assert faults(built) == []
    shutil.rmtree(built / "workspace" / "runs")
    (first, *_) = faults(built)
    assert first.endswith("is missing")


def test_no_workspace_is_no_fault(tmp_path: Path) -> None:
    (only,) = findings(tmp_path)
    assert (only.state, only.what) == ("ok", "store")
    assert "memoirist build" in only.next_step


def test_a_workspace_without_its_store_is_told(tmp_path: Path) -> None:
    (tmp_path / "workspace" / "runs").mkdir(parents=True)
    assert faults(tmp_path) == []  # anybody's folder
    (tmp_path / "workspace" / "recipe.toml").touch()
    (only,) = findings(tmp_path)
    assert (only.state, only.what) == ("look", "store")
    assert "memoirist.duckdb' is missing" in only.finding
    assert "backup" in only.next_step


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("DELETE FROM sources", "rows of documents refer to a source_id that does not exist"),
        ("DELETE FROM documents", "rows of blocks refer to a document_id that does not exist"),
        ("DELETE FROM datasets", "rows of conversations refer to a dataset_id that does not exist"),
        ("DELETE FROM made_pairs", "rows of conversations refer to a pair_ids that does not exist"),
        ("DELETE FROM migrations WHERE name = '027_versions.sql'", "without 027_versions.sql"),
        ("INSERT INTO migrations VALUES ('931_x.sql', now())", "newer version of Memoirist (931"),
    ],
)
def test_a_fault_of_the_rows_is_told(folder: Path, sql: str, told: str) -> None:
    with duckdb.connect(folder / "workspace" / "memoirist.duckdb") as connection:
        connection.execute(sql)
    assert any(told in fault for fault in faults(folder)), faults(folder)


def test_a_damaged_file_is_told(folder: Path) -> None:
    path = folder / "workspace" / "memoirist.duckdb"
    whole = path.read_bytes()
    # The rows alone: every table can still be named.
    middle = len(whole) // 2
    path.write_bytes(whole[:20_480] + bytes(middle) + whole[20_480 + middle :])
    assert faults(folder)
    path.write_bytes(b"no database at all" * 1000)
    (fault,) = (found for found in findings(folder) if found.state == "look")
    assert "cannot be used" in fault.finding
    assert "backup" in fault.next_step
    assert "paid replies" in fault.next_step


HOLDER = """
import sys, time
from pathlib import Path
from memoirist.flows.runtime.workspace import Workspace
workspace = Workspace(Path(sys.argv[1]))
with workspace.lock(), workspace.store.writing() as tx:
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_that_is_held_is_told(folder: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(folder / "workspace")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        lock, store = faults(folder)
        assert f"in use by process {holder.pid}" in lock
        assert "a build is running" in store
        holder.communicate(timeout=30)
    assert faults(folder) == []


KILLED = """
import duckdb, os, sys
connection = duckdb.connect(sys.argv[1])
connection.execute("PRAGMA disable_checkpoint_on_shutdown")
connection.execute("INSERT INTO done VALUES ('a', 'b', 'c')")
os._exit(9)
"""


def test_the_log_of_a_killed_command_is_told(folder: Path) -> None:
    store = folder / "workspace" / "memoirist.duckdb"
    subprocess.run([sys.executable, "-c", KILLED, str(store)], check=False)
    (fault,) = faults(folder)
    assert fault.startswith("memoirist.duckdb.wal contains ")
    with Store(store).writing():
        pass
    assert faults(folder) == []
