"""Near duplicates beside rensa and datasketch: F1, seconds and memory, in one run.

    python -m tests.benchmarks.near_duplicates [--documents 100000]

Documents of 60 to 320 words; a fifth of them are copies with words changed, left out and put in, at
Jaccard .7 or more. Each side is a process of its own and begins with the documents: ours in a
workspace, theirs in a file of JSON lines. Then 1 % new documents, the labelled pairs of the shared
corpora, edited rows of a dataset, and four editions of one book.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from memoirist.data.curation import duplicates
from memoirist.data.curation.duplicates import DuplicateSettings
from memoirist.data.store.store import Store
from memoirist.data.text.words import words
from tests.benchmarks import measure
from tests.conftest import CORPORA

_ROOT = Path(__file__).parent.parent.parent
_PEERS = _ROOT / ".venv-bench" / "bin" / "python"
_LETTERS = "etaoinshrdlucmfwypvbgkjqxz"
_NOW = datetime(2026, 11, 1, tzinfo=UTC)


def corpus(n: int, seed: int = 11) -> Iterator[dict[str, str]]:
    """Yield documents; the id of a copy is that of its original and a number.

    Words have the frequencies of a language, and documents share phrases of three to seven words.
    """
    rng = random.Random(seed)
    vocabulary = [
        "".join(rng.choices(_LETTERS, range(26, 0, -1), k=max(1, int(rng.gauss(1.6 + k**0.12, 1)))))
        for k in range(30_000)
    ]
    text = rng.choices(vocabulary, [1 / (k + 8) for k in range(30_000)], k=2_000_000)
    originals: list[list[str]] = []
    for number in range(n - n // 5):
        length, tokens = rng.randint(60, 320), list[str]()
        while len(tokens) < length:
            start = rng.randrange(len(text) - 7)
            tokens += text[start : start + rng.randint(3, 7)]
        originals.append(tokens[:length])
        yield {"id": f"{number:016x}", "text": _typeset(tokens[:length], rng)}
    for number in range(n // 5):
        original = rng.randrange(len(originals))
        tokens = _edited(originals[original], text, rng)
        yield {"id": f"{original:016x} {number}", "text": _typeset(tokens, rng)}


def _edited(tokens: Sequence[str], others: Sequence[str], rng: random.Random) -> list[str]:
    share = rng.choice((0, 0.005, 0.01, 0.02, 0.03))
    while True:
        copy = list(tokens)
        for _ in range(int(len(tokens) * share)):
            place = rng.randrange(len(copy) - 1)
            new = [rng.choice(others)]
            copy[place : place + rng.randint(0, 1)] = new if rng.random() < 0.75 else []
        if _jaccard(tokens, copy) >= 0.7:
            return copy


def _jaccard(one: Sequence[str], other: Sequence[str]) -> float:
    a, b = ({tuple(t[i : i + 5]) for i in range(len(t) - 4)} for t in (one, other))
    return len(a & b) / len(a | b)


def _typeset(tokens: Sequence[str], rng: random.Random) -> str:
    sentences, start = [], 0
    while start < len(tokens):
        length = rng.randint(6, 18)
        sentences.append(" ".join(tokens[start : start + length]).capitalize() + ".")
        start += length
    return " ".join(sentences)


def _fill(store: Store, rows: str) -> None:
    """Make passages of a file of JSON lines in a workspace."""
    with store.writing() as tx:
        tx.execute(
            "INSERT INTO sources BY NAME SELECT 's' AS id, 'text' AS kind, 'txt' AS format,"
            " 'l' AS location, '' AS sha256, now() AS added_at"
            " WHERE NOT EXISTS (FROM sources)"
        )
        tx.execute(
            "INSERT INTO cut_passages BY NAME SELECT id, text, 's' AS source_id,"
            f" 'd' AS document_id, 0 AS ord, '' AS group_id, 0 AS n_words FROM read_json('{rows}')"
        )


def ours(folder: Path) -> None:
    """Drop the near duplicates of the workspace in `folder` and print what was dropped."""
    store = Store(folder / "memoirist.duckdb")
    began = time.monotonic()
    with store.writing() as tx:
        duplicates.drop_passages(tx, DuplicateSettings.model_validate({}), _NOW)
    seconds = time.monotonic() - began
    used = resource.getrusage(resource.RUSAGE_SELF)
    found = store.rows("SELECT subject_id FROM verdicts WHERE step = 'dedupe'")
    result = {
        "seconds": seconds,
        "cpu": used.ru_utime + used.ru_stime,
        "dropped": [row["subject_id"] for row in found],
    }
    sys.stdout.write(json.dumps(result) + "\n")


def compare(n: int, folder: Path) -> None:
    """Print F1, seconds and memory of ours and of both peers on `n` documents."""
    path = folder / "documents.jsonl"
    rows = list(corpus(n))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    copies = Counter(row["id"][:16] for row in rows if " " in row["id"])
    _tell(f"{n:,} documents, {path.stat().st_size / 1e6:,.0f} MB, {copies.total():,} copies")
    store = Store(folder / "memoirist.duckdb")
    _fill(store, str(path))
    own = [sys.executable, "-m", "tests.benchmarks.near_duplicates", "--ours", str(folder)]
    seconds = {"memoirist": _report("memoirist", own, copies)}
    for peer in ("rensa", "datasketch") if _PEERS.exists() else ():
        script = str(Path(__file__).with_name("near_duplicates_peers.py"))
        seconds[peer] = _report(peer, [str(_PEERS), script, peer, str(path)], copies)
        _tell(f"  ours is {seconds[peer] / seconds['memoirist']:.1f} times as fast")
    new = folder / "new.jsonl"
    more = [{**row, "id": f"new {row['id']}"} for row in rows[-n // 200 :]]
    more += [{**row, "id": f"new {row['id']}"} for row in corpus(n // 200, seed=12)]
    new.write_text("".join(json.dumps(row) + "\n" for row in more), "utf-8")
    _fill(store, str(new))
    again = _report("1 % new", own, None)
    _tell(f"  {again / seconds['memoirist']:.1%} of the full run; wanted: 5 % at most")
    _report("nothing new", own, None)


def _report(name: str, command: list[str], copies: Counter[str] | None) -> float:
    ran = measure.run(command, _ROOT)
    if ran.code:
        sys.exit(f"{name} failed: {ran.output[-2000:]}")
    result = json.loads(ran.output.splitlines()[-1])
    # Which of a cluster is kept is each tool's own choice.
    dropped = Counter(name[:16] for name in result["dropped"])
    cpu = f", {result['cpu']:.1f} s of CPU" if "cpu" in result else ""
    f1 = ""
    if copies is not None:
        right = (dropped & copies).total()
        f1 = f"F1 {2 * right / (dropped.total() + copies.total()):.4f}"
    _tell(
        f"{name:<12} {f1:<9}"
        f"  {dropped.total():,} dropped  {result['seconds']:6.2f} s{cpu}  {ran.peak_mb:6,.0f} MB"
    )
    return float(result["seconds"])


def labelled(folder: Path) -> None:
    """Print precision and recall on the labelled pairs of paragraphs of two editions."""
    paths = sorted((CORPORA / "derived" / "neardup").glob("*.jsonl"))
    rows = [json.loads(line) for path in paths for line in path.open(encoding="utf-8")]
    texts = {row[f"text_{side}"] for row in rows for side in "ab"}
    names = {text: f"{number:016x}" for number, text in enumerate(sorted(texts))}
    path = folder / "labelled.jsonl"
    lines = [json.dumps({"id": names[text], "text": text}) + "\n" for text in names]
    path.write_text("".join(lines), "utf-8")
    store = Store(folder / "labelled" / "memoirist.duckdb")
    _fill(store, str(path))
    with store.writing() as tx:
        duplicates.drop_passages(tx, DuplicateSettings.model_validate({}), _NOW)
    clusters = store.rows("SELECT subject_id, cluster FROM duplicates")
    cluster = {row["subject_id"]: row["cluster"] for row in clusters}

    def found(row: dict[str, str]) -> bool:
        a, b = names[row["text_a"]], names[row["text_b"]]
        return a == b or (a in cluster and cluster[a] == cluster.get(b))

    near = [row for row in rows if row["label"]]
    hits, wrong = sum(map(found, near)), sum(found(row) for row in rows if not row["label"])
    edited = [row for row in near if row["kind"].startswith("edited")]
    f1 = 2 * hits / (hits + wrong + len(near)) if near else 1.0
    least = min((_jaccard(words(r["text_a"]), words(r["text_b"])) for r in near), default=0)
    _tell(f"labelled     F1 {f1:.4f}: {hits} of {len(near)} pairs at Jaccard {least:.2f} or more,")
    _tell(f"             {sum(map(found, edited))} of {len(edited)} edited ones; {wrong} wrong")


def main(arguments: list[str] | None = None) -> None:
    """Print every figure, or with --ours run our side alone."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--ours", type=Path)
    told = parser.parse_args(arguments if arguments is not None else [])
    if told.ours:
        ours(told.ours)
        return
    with tempfile.TemporaryDirectory() as name:
        labelled(Path(name))
        compare(told.documents, Path(name))


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
