"""Book extraction side by side: our engines and the peers, on the same files, scored alike.

Run `python -m tests.benchmarks.books [--corpora FOLDER] [--only BOOK,...] [--tools TOOL,...]`.
Peers run from the environment that MEMOIRIST_BENCH_PYTHON names (`make bench` makes it).
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from memoirist.extractors.settings import ExtractSettings
from tests.benchmarks import readers
from tests.benchmarks.scoring import Score, Truth, score
from tests.benchmarks.truths import truths_of

_ROOT = Path(__file__).parent.parent.parent
_CORPORA = Path(os.environ.get("MEMOIRIST_CORPORA", _ROOT.parent / "shared" / "corpora"))
_PEER_PYTHON = os.environ.get("MEMOIRIST_BENCH_PYTHON", str(_ROOT / ".venv-bench/bin/python"))
_PROSE = "paragraph,quote"
_ALL = "paragraph,quote,heading,caption,footnote,contents,boilerplate"
_TIMEOUT_SECONDS = 900


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one tool made of one file, with the seconds of its process and its children."""

    paragraphs: tuple[str, ...]
    cpu_seconds: float
    wall_seconds: float
    fault: str | None = None


def engines() -> list[str]:
    """Return the engines that the extract settings know."""
    engine = ExtractSettings.model_fields.get("engine")
    known = getattr(engine.annotation, "__args__", ()) if engine else ()
    return [str(name) for name in known] or [""]


def absent(tool: str) -> str | None:
    """Return why a peer cannot run here, or None."""
    if tool == "pdftotext":
        return None if shutil.which(tool) else "not installed (Debian: poppler-utils)"
    if not Path(_PEER_PYTHON).is_file():
        return f"not installed: {_PEER_PYTHON} is not there (make bench makes it)"
    module = {"pdfminer": "pdfminer.high_level"}.get(tool, tool)
    command = [_PEER_PYTHON, "-c", f"import {module}"]
    done = subprocess.run(command, capture_output=True, check=False)
    return "not installed (extra bench)" if done.returncode else None


def read(tool: str, truth: Truth) -> Reading:
    """Run one tool on one file in a process of its own."""
    name, environment = tool, dict(os.environ)
    python = _PEER_PYTHON if Path(_PEER_PYTHON).is_file() else sys.executable
    if tool.startswith("memoirist"):
        engine = tool.partition(" ")[2]
        name = f"memoirist:{engine}:{_PROSE if truth.exact else _ALL}"
        python = sys.executable
        paths = [str(_ROOT), *filter(None, [environment.get("PYTHONPATH")])]
        environment["PYTHONPATH"] = os.pathsep.join(paths)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "found.txt"
        command = [python, str(Path(readers.__file__)), name, str(truth.path), str(out)]
        before, began = _children_seconds(), time.monotonic()
        try:
            done = subprocess.run(
                command,
                env=environment,
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_SECONDS,
                check=False,
            )
            fault = (
                (done.stderr.strip().splitlines() or ["failed"])[-1] if done.returncode else None
            )
        except subprocess.TimeoutExpired:
            fault = f"took more than {_TIMEOUT_SECONDS} s"
        return Reading(
            paragraphs=() if fault else tuple(out.read_text("utf-8").split("\f")),
            cpu_seconds=_children_seconds() - before,
            wall_seconds=time.monotonic() - began,
            fault=fault,
        )


def _children_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def row(tool: str, truth: Truth, reading: Reading, scored: Score) -> str:
    """Return one line of the table."""
    times = f"{reading.cpu_seconds:7.1f} {reading.wall_seconds:7.1f}"
    if reading.fault:
        return f"{tool:<20} {reading.fault[:70]:<70} {times}"
    shares = f"{scored.precision:9.4f} {scored.recall:7.4f} {scored.f1:7.4f}"
    if not truth.exact:
        return f"{tool:<20} {shares} {'-':>13} {'-':>6} {'-':>6} {'-':>6} {'-':>6} {times}"
    exact = f"{scored.exact:>13,} {scored.exact / max(scored.truth, 1):6.1%}"
    left = f"{scored.heads:6} {scored.folios:6} {scored.notes:6}"
    return f"{tool:<20} {shares} {exact} {left} {times}"


def compare(truth: Truth, tools: Sequence[str], n_missed: int) -> None:
    """Print the table of one book."""
    total = score(truth, ()).truth
    told = f"{total:,} paragraphs" if truth.exact else "words alone"
    head = "precision  recall      F1  exact paragraphs   heads folios  notes     CPU    wall"
    _tell(f"\n{truth.name}: {truth.path.name}, {told}\n{'':<20} {head}")
    for tool in tools:
        if not tool.startswith("memoirist") and (why := absent(tool)):
            _tell(f"{tool:<20} {why}")
            continue
        reading = read(tool, truth)
        scored = score(truth, reading.paragraphs)
        _tell(row(tool, truth, reading, scored))
        for text in scored.missed[:n_missed] if truth.exact else ():
            _tell(f"    missed: {text[:160]}")


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] = ()) -> None:
    """Compare all tools on all books that are there."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.books")
    parser.add_argument("--corpora", type=Path, default=_CORPORA, help="folder of the test corpora")
    parser.add_argument("--only", default="", help="names of books, with commas")
    parser.add_argument("--tools", default="", help="names of tools, with commas")
    parser.add_argument("--missed", type=int, default=0, help="missed paragraphs to show")
    given = parser.parse_args(arguments)
    corpora = given.corpora if given.corpora.is_dir() else None
    if corpora is None:
        _tell(f"no corpora at {given.corpora} (MEMOIRIST_CORPORA): the bundled memoir alone")
    ours = [f"memoirist {engine}".strip() for engine in engines()]
    known = [*ours, *readers.PEERS]
    tools = [each for each in known if not given.tools or each in given.tools.split(",")]
    for truth in truths_of(corpora):
        if not given.only or truth.name in given.only.split(","):
            compare(truth, tools, given.missed)


if __name__ == "__main__":
    main(sys.argv[1:])
