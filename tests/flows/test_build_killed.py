"""A build that is killed in every step, and one that never was, hold the same rows."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from memoirist.data.samples import SOURCES
from tests.conftest import EDITH, HURRIED, environment, run, sets
from tests.support import flow_server
from tests.support.content import CONTENT, content
from tests.support.openai_server import OpenAIServer, Script


def _kill_when(folder: Path, arguments: list[str], sign: str) -> None:
    """Start a build and SIGKILL it, with its children, once `sign` holds in its workspace."""
    process = subprocess.Popen(
        [sys.executable, "-m", "memoirist.flows.cli", *arguments],
        cwd=folder,
        env=environment(PREFECT_API_URL=flow_server.address()),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if sign in line:
            break
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stderr.close()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_in_every_step_it_completes_with_the_same_rows(tmp_path: Path) -> None:
    """The steps print when they end, so each kill falls into the step after the named one."""
    sources = [str(SOURCES[0]), str(SOURCES[2])]
    with OpenAIServer(Script(latency_seconds=0.02)) as server:
        ask = ["--base-url", server.base_url, "--model", "interviewer", "--max-concurrency", "4"]
        arguments = ["build", *sources, *EDITH, *sets(*HURRIED), *ask]
        calm, killed = tmp_path / "calm", tmp_path / "killed"
        calm.mkdir()
        killed.mkdir()
        done = run(calm, *arguments)
        assert done.returncode == 0, done.stderr
        for sign in ("extract  ", "split  ", "ask  ", "curate  ", "compose  ", "train  "):
            _kill_when(killed, arguments, sign)
        done = run(killed, *arguments)
        assert done.returncode == 0, done.stderr
    left, right = content(calm), content(killed)
    for table in CONTENT:
        assert left[table] == right[table], table
