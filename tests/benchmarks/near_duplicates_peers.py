"""Drop near duplicates with rensa or datasketch, as their guides do: stands alone.

`python near_duplicates_peers.py rensa|datasketch DOCUMENTS` reads JSON lines with `id` and `text`
and prints one JSON line: the seconds, and the ids of the documents that are near an earlier one
(word 5-grams, 128 permutations, threshold .7).
"""

from __future__ import annotations

import importlib
import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

_WORD = re.compile(r"[^\W_]+")


def _shingled(path: Path) -> Iterator[tuple[str, list[str]]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            words = _WORD.findall(row["text"].lower())
            yield row["id"], [" ".join(words[i : i + 5]) for i in range(max(1, len(words) - 4))]


def _rensa(path: Path) -> list[str]:
    library = importlib.import_module("rensa")
    found = library.RMinHashDeduplicator(threshold=0.7, num_perm=128, use_lsh=True, seed=42)
    dropped: list[str] = []
    rows = list(_shingled(path))
    for (name, _), is_new in zip(rows, found.add_pairs(rows), strict=True):
        if not is_new:
            dropped.append(name)
    return dropped


def _datasketch(path: Path) -> list[str]:
    library = importlib.import_module("datasketch")
    index = library.MinHashLSH(threshold=0.7, num_perm=128)
    kept, dropped = {}, []
    for name, shingles in _shingled(path):
        sketch = library.MinHash(num_perm=128)
        sketch.update_batch([shingle.encode() for shingle in set(shingles)])
        if any(sketch.jaccard(kept[other]) >= 0.7 for other in index.query(sketch)):
            dropped.append(name)
        else:
            kept[name] = sketch
            index.insert(name, sketch)
    return dropped


if __name__ == "__main__":
    began = time.monotonic()
    dropped = {"rensa": _rensa, "datasketch": _datasketch}[sys.argv[1]](Path(sys.argv[2]))
    result = {"seconds": time.monotonic() - began, "dropped": dropped}
    sys.stdout.write(json.dumps(result) + "\n")
