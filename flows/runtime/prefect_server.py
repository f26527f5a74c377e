"""Run a temporary Prefect server that ends with its flow, unless the user has a server.

Prefect's own ephemeral server survives a killed flow and keeps memory and the SQLite file; this
one watches its parent process and ends with it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from memoirist.data.schema.errors import MemoiristError
from memoirist.flows.runtime.local_server import HOST, end_process, free_port
from memoirist.flows.runtime.prefect_tasks import silence_prefect

_START_SECONDS = 120.0


@contextmanager
def running(*, schedules: bool = False) -> Iterator[str]:
    """Yield the API's address: the user's server, or a temporary one on 127.0.0.1.

    With `schedules` the server also runs the services that start deployments.
    """
    silence_prefect()
    from prefect.settings import PREFECT_API_URL, temporary_settings

    if url := PREFECT_API_URL.value():
        yield url
        return
    port = free_port()
    url = f"http://{HOST}:{port}/api"
    process = _start(port, schedules=schedules)
    try:
        _wait(process, url)
        with temporary_settings({PREFECT_API_URL: url}):
            try:
                yield url
            finally:
                _flush()
    finally:
        end_process(process, signal.SIGTERM, 5)


def _flush() -> None:
    """Let Prefect send its pending logs and events: at exit it would report a missing server."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogHandler

    APILogHandler().flush()
    EventsWorker.drain_all(timeout=5)


def _start(port: int, *, schedules: bool) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "PREFECT_UI_ENABLED": "0",
        "PREFECT__SERVER_FINAL": "1",
        **({} if schedules else {"PREFECT__SERVER_EPHEMERAL": "1"}),
    }
    return subprocess.Popen(
        [sys.executable, "-m", __name__, str(port), str(os.getpid())],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        # Ctrl-C goes to the flow, which then stops the server.
        start_new_session=True,
    )


def _wait(process: subprocess.Popen[bytes], url: str) -> None:
    import httpx

    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(httpx.HTTPError):
            if httpx.get(f"{url}/health", timeout=5).is_success:
                return
        time.sleep(0.1)
    raise MemoiristError(
        f"Prefect's temporary server did not start on {url}",
        "run `prefect server start` in another terminal to see why, or set PREFECT_API_URL",
    )


def _watch(parent: int) -> None:
    """End this process when its parent is gone."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(0)


def main() -> None:
    """Serve Prefect's API on the port of the first argument while the parent process lives.

    The second argument is the parent's process id.
    """
    port, parent = int(sys.argv[1]), int(sys.argv[2])
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    import uvicorn

    uvicorn.run(
        "prefect.server.api.server:create_app",
        factory=True,
        host=HOST,
        port=port,
        log_level="critical",
        lifespan="on",
    )


if __name__ == "__main__":
    main()
