"""Ctrl-C while a build asks: once keeps what is in flight, twice stops, and a build goes on."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from memoirist.data.store.store import Store
from tests.conftest import ROOT, environment
from tests.flows.test_changed_sources import book
from tests.support.openai_server import OpenAIServer, Script

KEPT = "SELECT count(*) FROM requests WHERE purpose = 'interview' AND status = 'ok'"
STOPPED = "memoirist: stopped; run the same command again to continue"


def interrupted(folder: Path, server: OpenAIServer, n_asked: int, times: int) -> tuple[int, str]:
    """Build until `n_asked` requests have come and send SIGINT; return the exit code and stderr."""
    child = subprocess.Popen(
        [
            sys.executable, "-m", "memoirist.flows.cli", "build", str(folder / "book.md"), "-w",
            str(folder / "ws"), "--persona", "Ada Quill", "--base-url", server.base_url,
            "--model", "interviewer", "--max-concurrency", "2",
        ],
        cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    probes = server.seen.probes
    while server.seen.requests < n_asked and child.poll() is None:
        if times > 1 and server.seen.probes > probes:
            server.script.latency_seconds = 300.0  # who waited would miss the deadline below
        time.sleep(0.02)
    for _ in range(times):
        child.send_signal(signal.SIGINT)
        time.sleep(0.2)
    _, told = child.communicate(timeout=90)
    return child.returncode, told


@pytest.mark.slow
def test_ctrl_c_in_a_build(tmp_path: Path) -> None:
    (tmp_path / "book.md").write_text(book(), "utf-8")
    store = Store(tmp_path / "ws" / "memoirist.duckdb")
    with OpenAIServer(Script(latency_seconds=2.0)) as server:
        code, told = interrupted(tmp_path, server, 4, times=1)
        first = server.seen.requests
        assert code == 130
        assert "waiting for 2 requests in flight; press it again to stop at once" in told
        assert told.strip().splitlines()[-1] == STOPPED
        assert "Traceback" not in told
        assert store.value(KEPT) == first < 9
        code, told = interrupted(tmp_path, server, first + 2, times=2)
        assert code == 130
        assert told.strip().splitlines()[-1] == STOPPED
        assert "Traceback" not in told
        assert store.value(KEPT) == first  # the two in flight are all that is lost
        assert server.seen.requests == first + 2
