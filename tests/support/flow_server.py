"""One Prefect server for all flows of a test run: each of its own would take eight seconds.

It starts with the first flow and ends with the process that leads the tests, whichever of its
workers has started it. Its database lies in the tests' own folder.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

ROOT = Path(__file__).parent.parent.parent
_START_SECONDS = 120.0
_SETTINGS = {
    "PREFECT_UI_ENABLED": "0",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # Its services write while it starts, and a busy machine is slow at that.
    "PREFECT_SERVER_DATABASE_TIMEOUT": "60",
    "PREFECT__SERVER_FINAL": "1",
    "PREFECT__SERVER_EPHEMERAL": "1",
}


def leader() -> int:
    """Return the number of the process that leads the tests: with xdist, the workers' parent."""
    return os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()


def address() -> str:
    """Return the API's address of the server, which is started where none runs yet."""
    folder = Path(tempfile.gettempdir()) / f"memoirist-tests-{leader()}"
    folder.mkdir(exist_ok=True)
    written = folder / "address"
    with FileLock(folder / "lock"):
        if not (written.exists() and _answers(written.read_text("utf-8"))):
            written.write_text(_start(folder), "utf-8")
        return written.read_text("utf-8")


@contextlib.contextmanager
def settings(url: str | None) -> Iterator[None]:
    """Let flows meet a server, also where Prefect has read the environment long before."""
    if "prefect.settings" not in sys.modules:
        yield
        return
    from prefect.settings import PREFECT_API_URL, temporary_settings

    if url:
        with temporary_settings({PREFECT_API_URL: url}):
            yield
    else:
        with temporary_settings(restore_defaults={PREFECT_API_URL}):
            yield


def _start(folder: Path) -> str:
    port = _free_port()
    url = f"http://127.0.0.1:{port}/api"
    log = folder / "server.log"
    with log.open("w") as written:
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(port), str(leader()), str(folder)],
            cwd=ROOT,
            env={**os.environ, **_SETTINGS, "PREFECT_HOME": str(folder / "home")},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=written,
            start_new_session=True,
        )
    deadline = time.monotonic() + _START_SECONDS
    while not _answers(url):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"no Prefect server for the tests on {url}: {log.read_text()}")
        time.sleep(0.1)
    # It is not waited for: it ends by itself, after this process.
    process.returncode = 0
    return url


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as reply:  # noqa: S310 - ours
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _end_with(process: int, folder: Path) -> None:
    """End when another process has gone, and take the folder along."""
    import shutil

    while True:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)
            os._exit(0)
        time.sleep(0.5)


def main() -> None:
    """Serve Prefect's API on a port while the process given second lives."""
    port, process, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    threading.Thread(target=_end_with, args=(process, folder), daemon=True).start()
    import uvicorn

    uvicorn.run(
        "prefect.server.api.server:create_app",
        factory=True,
        host="127.0.0.1",
        port=port,
        log_level="critical",
        lifespan="on",
    )


if __name__ == "__main__":
    main()
