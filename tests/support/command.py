"""The command line, called in this process, or as a child where a process is the point.

A child pays a second for Python's imports, and seven more where torch is among them. Called here, a
command finds everything as a process of its own would: folder, environment, standard streams,
warnings, signals; and leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from tests.support import flow_server

ROOT = Path(__file__).parent.parent.parent
# These run as flows: they take the server that all tests share.
FLOWS = ("build", "refresh")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Done = subprocess.CompletedProcess[str]


def environment(**extra: str) -> dict[str, str]:
    """Return this environment without any endpoint, so that no test calls a real one."""
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith(("OPENAI_", "MEMOIRIST_", "HF_"))
    }
    return {**kept, "COLUMNS": "200", **extra}


def run(folder: Path, *arguments: str, typed: str = "", **extra: str) -> Done:
    """Call `memoirist ARGUMENTS` in this process, with `folder` as the current one.

    `typed` is its standard input, `extra` its further environment.
    """
    from memoirist.flows.cli.main import main

    is_flow = bool(arguments) and arguments[0] in FLOWS
    if is_flow:
        extra = {"PREFECT_API_URL": flow_server.address(), **extra}
    with _streams(typed) as (_, out, err):
        with _surroundings(folder, environment(**extra)):
            sys.argv = ["memoirist", *arguments]
            code = _exit_code(main)
            if is_flow:
                # What Prefect leaves unclosed is told here, and not in whichever test comes next.
                gc.collect()
        sys.stdout.flush()
        return Done(["memoirist", *arguments], code, _text(out), _text(err))


def _exit_code(main: Callable[[], None]) -> int:
    try:
        main()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


def run_process(
    folder: Path, *arguments: str, timeout: float = 240, typed: str = "", **extra: str
) -> Done:
    """Call `memoirist ARGUMENTS` as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "memoirist.flows.cli", *arguments],
        cwd=folder,
        env=environment(**extra),
        capture_output=True,
        text=True,
        timeout=timeout,
        input=typed,
        check=False,
    )


@contextlib.contextmanager
def _surroundings(folder: Path, variables: dict[str, str]) -> Iterator[None]:
    """Give a call its folder, environment, warnings and signals, and take them back after it."""
    here, before, argv = Path.cwd(), dict(os.environ), sys.argv
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    thresholds = gc.get_threshold()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    try:
        with warnings.catch_warnings(), flow_server.settings(variables.get("PREFECT_API_URL")):
            _usual_warnings()
            yield
    finally:
        _forget()
        sys.argv = argv
        gc.set_threshold(*thresholds)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.environ.clear()
        os.environ.update(before)
        os.chdir(here)


def _usual_warnings() -> None:
    """Show the warnings that a process shows, and raise none: most are other packages' own."""
    warnings.resetwarnings()
    for kind in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
        warnings.simplefilter("ignore", kind)


def _forget() -> None:
    """Drop what a process keeps in its memory until it ends."""
    from memoirist.extractors.pdf.engines.base import forget_passwords

    forget_passwords()


@contextlib.contextmanager
def _streams(typed: str) -> Iterator[list[BinaryIO]]:
    """Put files in the place of the standard streams: those of children and libraries as well."""
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(3)]
        files[0].write(typed.encode())
        files[0].seek(0)
        before = (sys.stdin, sys.stdout, sys.stderr)
        for stream in before[1:]:
            stream.flush()
        copies = [os.dup(number) for number in range(3)]
        try:
            for number, file in enumerate(files):
                os.dup2(file.fileno(), number)
            # Not closed with the text around them: the numbers belong to the process.
            sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
            sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
            sys.stderr = open(2, "w", 1, encoding="utf-8", closefd=False)  # noqa: SIM115
            yield files
        finally:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError):
                    stream.flush()
            sys.stdin, sys.stdout, sys.stderr = before
            for number, copy in enumerate(copies):
                os.dup2(copy, number)
                os.close(copy)


def _text(file: BinaryIO) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "replace")
