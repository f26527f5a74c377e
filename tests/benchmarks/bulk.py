"""A million rows of the OpenOrca schema: from the file to pairs, beside `datasets.map`.

    python -m tests.benchmarks.bulk [--rows 1000000] [--format jsonl]

Both read the same file in the same run: ours from the command line to rows in `pairs` (extract, ask
and curate), theirs `load_dataset` and `map` with a Python function that formats messages.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from memoirist.data.store.store import Store

_ROOT = Path(__file__).parent.parent.parent
_LETTERS = "etaoinshrdlucmfwypvbgkjqxz"
_THEIRS = """
import sys
import datasets
datasets.disable_progress_bars()
kind, path, cache = sys.argv[1:]
rows = datasets.load_dataset(kind, data_files=path, split="train", cache_dir=cache)
def formatted(row):
    messages = [{"role": "system", "content": row["system_prompt"]}] if row["system_prompt"] else []
    messages.append({"role": "user", "content": row["question"]})
    messages.append({"role": "assistant", "content": row["response"]})
    return {"messages": messages}
print(len(rows.map(formatted, remove_columns=rows.column_names)))
"""


def rows(n: int, seed: int = 7) -> Iterator[dict[str, str]]:
    """Yield rows of about 1 KB: questions of 1-8 sentences, answers of 1-12, 17 system prompts."""
    rng = random.Random(seed)
    lengths = rng.choices(range(2, 10), k=12_000)
    vocabulary = [
        "".join(rng.choices(_LETTERS, weights=range(26, 0, -1), k=length)) for length in lengths
    ]
    vocabulary += [str(rng.randint(1, 2_100)) for _ in range(150)]
    rng.shuffle(vocabulary)
    weights = [1 / (place + 10) for place in range(len(vocabulary))]
    words = iter(rng.choices(vocabulary, weights=weights, k=60_000 * 13))
    sentences = []
    while sentence := list(islice(words, rng.randint(6, 20))):
        sentences.append(" ".join(sentence).capitalize() + rng.choice((". ", ". ", ".\n", "? ")))
    systems = ["", "You are a helpful assistant, who always provides an explanation."]
    systems += ["".join(rng.choices(sentences, k=2)).strip() for _ in range(15)]
    for number in range(n):
        yield {
            "id": f"flan.{number}",
            "system_prompt": rng.choice(systems),
            "question": "".join(rng.choices(sentences, k=rng.randint(1, 8))).strip(),
            "response": "".join(rng.choices(sentences, k=rng.randint(1, 12))).strip(),
        }


def write(path: Path, n: int) -> None:
    """Write `n` rows as JSON lines or Parquet, by the suffix."""
    if path.suffix == ".jsonl":
        with path.open("w", encoding="utf-8") as file:
            for row in rows(n):
                file.write(json.dumps(row) + "\n")
        return
    every, writer = rows(n), None
    while batch := list(islice(every, 50_000)):
        table = pa.Table.from_pylist(batch)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()


def main(arguments: list[str] | None = None) -> None:
    """Print seconds, CPU seconds and peak memory of both, and how many times faster ours is."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--format", choices=("jsonl", "parquet"), default="jsonl")
    told = parser.parse_args(arguments if arguments is not None else [])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / f"orca.{told.format}"
        write(path, told.rows)
        os.sync()  # neither shall wait for the disk to take this file
        _tell(f"{told.rows:,} rows, {path.stat().st_size / 1e6:,.0f} MB, {told.format}")
        steps = (["extract", path.name, "--persona", "Ada"], ["ask"], ["curate"])
        ours = [measured_command(folder, *step) for step in steps]
        store = Store(folder / "workspace" / "memoirist.duckdb")
        pairs = store.value("SELECT count(*) FROM pairs")
        size = store.path.stat().st_size / 1e6
        kind = "json" if told.format == "jsonl" else "parquet"
        theirs = [sys.executable, "-c", _THEIRS, kind, str(path), str(folder / "cache")]
        wall, cpu = _measured(folder, "datasets.map", theirs)
        own_wall, own_cpu = (sum(each[k] for each in ours) for k in (0, 1))
        _tell(f"file to {pairs:,} pairs: {own_wall:.1f} s, {own_cpu:.1f} s of CPU; {size:,.0f} MB")
        _tell(f"ours is {wall / own_wall:.1f} times faster ({cpu / own_cpu:.1f} by CPU); wanted: 5")
        _tell(f"to pairs that are not yet curated (extract alone): {wall / ours[0][0]:.1f} times")


def measured_command(folder: Path, *command: str) -> tuple[float, float]:
    """Run one of our commands; print and return its seconds and CPU seconds."""
    python = [sys.executable, "-m", "memoirist.flows.cli"]
    return _measured(folder, f"memoirist {command[0]}", [*python, *command])


def _measured(folder: Path, what: str, command: list[str]) -> tuple[float, float]:
    """Run one process; to sample its memory would slow it down, the kernel's own peak does not."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    began = time.monotonic()
    with (folder / "output.txt").open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        _, code, used = os.wait4(process.pid, 0)
    seconds = time.monotonic() - began
    if code:
        sys.exit(f"{what} failed: {(folder / 'output.txt').read_text()[-2000:]}")
    cpu = used.ru_utime + used.ru_stime
    _tell(f"{what:<18} {seconds:6.1f} s  CPU {cpu:6.1f} s  {used.ru_maxrss / 1024:6,.0f} MB")
    return seconds, cpu


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
