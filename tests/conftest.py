"""Fixtures: a fresh workspace, the command line as a child process, the test corpora."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from data.store import Store

ROOT = Path(__file__).parent.parent
CORPORA = Path(os.environ.get("MEMOIRIST_CORPORA", ROOT.parent / "shared" / "corpora"))

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
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OPENAI_", "MEMOIRIST_"))}
    return {**kept, "COLUMNS": "200", **extra}


@pytest.fixture
def memoirist(tmp_path: Path) -> Command:
    """Run `memoirist ARGUMENTS` in `tmp_path`, whose workspace is `tmp_path/workspace`."""

    def run(
        *arguments: str, timeout: float = 240, **extra: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "flows.cli", *arguments],
            cwd=tmp_path,
            env=environment(PYTHONPATH=str(ROOT), **extra),
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            check=False,
        )

    return run
