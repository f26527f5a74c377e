"""Run servers as child processes on this machine; the temporary Prefect server is one of them.

Prefect's own ephemeral server survives a killed flow and keeps memory and the SQLite file; ours
watches its parent process and ends with it.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from memoirist.data.schema.errors import EndpointError, MemoiristError
from memoirist.flows.runtime.prefect_tasks import silence_prefect

HOST = "127.0.0.1"


def free_port(port: int = 0) -> int:
    """Return `port`, or any free port for 0; EndpointError where another program listens on it."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError as error:
            raise EndpointError(
                f"port {port} cannot be used: {error.strerror}", "choose another with --port"
            ) from error
        return int(listener.getsockname()[1])


def end_process(
    process: subprocess.Popen[bytes], number: signal.Signals, timeout_seconds: float
) -> None:
    """Send a signal to the process, and kill it if it still runs after the timeout."""
    if process.poll() is None:
        process.send_signal(number)
    try:
        process.wait(timeout_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


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
