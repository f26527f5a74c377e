"""Manage a server that runs as a child process on this machine: find its port, end it."""

from __future__ import annotations

import signal
import socket
import subprocess

from memoirist.data.schema.errors import EndpointError

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
