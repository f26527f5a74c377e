"""A million given pairs: seconds and memory of their signals, gates and score, and of a rerun.

    python -m tests.benchmarks.curate_million [--rows 1000000]

The rows are those of `bulk`. `extract` takes them in; then `curate` measures and judges all of
them, once more with nothing new, and once more after a file with ten new rows. Wanted: minutes and
at most 8 GiB for the first, at most 3 s for a rerun.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from memoirist.data.store.store import FILE, Store
from tests.benchmarks import bulk

_COUNTS = (
    "SELECT (SELECT count(*) FROM pairs), (SELECT count(*) FROM pair_signals),"
    " (SELECT count(*) FROM pair_scores), (SELECT count(*) FROM passage_signals)"
)


def main(arguments: list[str] | None = None) -> None:
    """Print a line for each command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    chosen = parser.parse_args(arguments if arguments is not None else [])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bulk.write(folder / "orca.parquet", chosen.rows)
        bulk.measured_command(folder, "extract", "orca.parquet", "--persona", "Ada")
        bulk.measured_command(folder, "curate")
        bulk.measured_command(folder, "curate")
        more = [
            {"question": f"What came of number {n}?", "answer": f"Number {n} went by the mill."}
            for n in range(10)
        ]
        (folder / "more.jsonl").write_text("\n".join(map(json.dumps, more)), "utf-8")
        bulk.measured_command(folder, "extract", "more.jsonl")
        bulk.measured_command(folder, "curate")
        store = Store(folder / "workspace" / FILE)
        (counts,) = store.fetch(_COUNTS).rows
        sys.stdout.write(
            "{:,} pairs, {:,} with signals, {:,} with a score; {:,} passages with signals;".format(
                *counts
            )
            + f" {store.path.stat().st_size / 1e6:,.0f} MB\n"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
