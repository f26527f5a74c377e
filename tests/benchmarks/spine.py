"""The main line on the bundled samples: the first build, a second one, and the quick commands."""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from pathlib import Path

from memoirist.data.samples import PERSONA, SOURCES
from tests.benchmarks.measure import run

_MEMOIRIST = [sys.executable, "-m", "memoirist.flows.cli"]
_ROOT = Path(__file__).parent.parent.parent


def main() -> None:
    """Print one line a figure: what, measured, wanted."""
    environment = dict(os.environ)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build = [*_MEMOIRIST, "build", *map(str, SOURCES), "--persona", PERSONA]
        first = run(build, folder, environment)
        _tell("first build", f"{first.seconds:.0f} s, {first.peak_mb:.0f} MB", "240 s, 4096 MB")
        second = run(build, folder, environment)
        _tell("second build", f"{second.seconds:.1f} s", "25 s")
        if first.code or second.code or "Nothing to do" not in second.output:
            sys.stdout.write(first.output + second.output)
            sys.exit("a build failed, or the second one found something to do")
        for arguments in (["--help"], ["look"], ["sql", "SELECT count(*) FROM pairs"]):
            times = [run([*_MEMOIRIST, *arguments], folder, environment).seconds for _ in range(7)]
            told = f"median {statistics.median(times):.2f} s, worst {max(times):.2f} s"
            _tell(f"memoirist {arguments[0]}", told, "0.7 s")


def _tell(what: str, measured: str, wanted: str) -> None:
    sys.stdout.write(f"{what:<18} {measured:<34} wanted: at most {wanted}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
