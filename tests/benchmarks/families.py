"""Base families: the one-sentence test and 49 short exchanges on each, adapter against merged.

    python -m tests.benchmarks.families [--all] [FAMILY ...]

Without `--all` each family is tried once as it is published; with it also tied and untied, with
and without ChatML tokens in its vocabulary, in its own template and on raw text.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import memoirist.train as _early  # noqa: F401 - before torch is loaded: it says how OpenMP's threads wait
from memoirist.train.settings import TrainSettings
from tests.support.families import FAMILIES, NATIVE
from tests.support.one_sentence import LEARNT, Kind, try_family

# Enough for the 50 rows to be learnt by heart, so that every answer has an end to reach.
_SETTINGS = TrainSettings(epochs=30, save_every=300, answers_per_save=0)


def main() -> None:
    """Print a table, a line a base; exit with an error when one of them fails."""
    chosen = [name for name in sys.argv[1:] if not name.startswith("-")] or list(FAMILIES)
    sys.stdout.write(
        f"{'base':<46}{'learnt':>8}{'equal':>8}{'draws':>6}{'ended':>7}{'KL':>9}"
        f"{'KL orig.':>9}{'adapter':>9}{'merged':>8}{'kept':>13}{'s':>6}\n"
    )
    failed = 0
    for name in chosen:
        for kind, variant in _variants(name, "--all" in sys.argv):
            failed += not _line(name, kind, variant)
    if failed:
        sys.exit(f"{failed} of these bases do not hold")


def _variants(name: str, every: bool) -> Iterator[tuple[Kind, dict[str, Any]]]:
    yield "chatml", {}
    if every:
        tied = not FAMILIES[name].tied
        yield "chatml", {"tied": tied}
        yield "chatml", {"chatml": True}
        yield "chatml", {"chatml": True, "tied": tied}
        if name in NATIVE:
            yield "native", {}
        yield "text", {}


def _line(name: str, kind: Kind, variant: dict[str, Any]) -> bool:
    """Try one base, print its line, and tell whether it holds what is promised."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        trial = try_family(Path(folder), name, kind, more=49, settings=_SETTINGS, **variant)
    figures = trial.merged.figures
    learnt = set(trial.said.values()) == {(LEARNT, True)}
    told = ", ".join([name, kind, *(f"{key}={value}" for key, value in variant.items())])
    sys.stdout.write(
        f"{told:<46}{'yes' if learnt else 'NO':>8}{figures['equal']:>5.0f}/{figures['prompts']:.0f}"
        f"{figures['ties']:>6.0f}{figures['stopped']:>7.0f}{figures['kl']:>9.0e}"
        f"{figures['original_kl']:>9.0e}{figures['adapter_loss']:>9.4f}{figures['loss']:>8.4f}"
        f"{trial.merged.way:>13}{time.monotonic() - began:>6.0f}\n"
    )
    sys.stdout.flush()
    return learnt and trial.merged.alike and figures["stopped"] >= 0.99 * figures["prompts"]


if __name__ == "__main__":
    main()
