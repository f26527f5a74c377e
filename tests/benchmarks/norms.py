"""Make the table of a language's function words: how often they stand, how much writers differ.

`python -m tests.benchmarks.norms LANG TEXT... > data/evaluation/norms/LANG.tsv`, one plain text for
each writer. Every writer counts alike. The spread is the geometric mean of the one that was seen
and the one that Taylor's law expects, since a few writers tell little of it; the law's own two
numbers are fitted and printed to stderr.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np

from memoirist.data.evaluation.style import NORM_WORDS, taylor, tokens

_CUT = 120_000  # words of one writer
_DATA = Path(__file__).parent.parent.parent / "data"


def main(lang: str, paths: list[str]) -> None:
    """Print the table."""
    known = _function_words(lang)
    texts = [tokens(text_of(Path(path)), lang)[:_CUT] for path in paths]
    rows = [Counter(word for word in text if word in known) for text in texts]
    shares = np.array(
        [[1000 * row[w] / len(t) for w in known] for row, t in zip(rows, texts, strict=True)]
    )
    means, seen = shares.mean(axis=0), shares.std(axis=0, ddof=1)
    chosen = np.argsort(-means)[:NORM_WORDS]
    law = np.polyfit(np.log(means[chosen]), np.log(np.maximum(seen[chosen], 1e-3)), 1)
    sys.stderr.write(f"{lang}: {len(texts)} writers; a {np.exp(law[1]):.3f} b {law[0]:.3f}\n")
    spreads = np.sqrt(np.maximum(seen, 1e-3) * taylor(means))
    n_words = sum(map(len, texts))
    sys.stdout.write(f"# {len(texts)} writers, {n_words:,} words; word, mean, spread per 1,000\n")
    for place in chosen:
        sys.stdout.write(f"{known[place]}\t{means[place]:.4f}\t{spreads[place]:.4f}\n")


def _function_words(lang: str) -> list[str]:
    names = [
        f"stopwords/{lang}.txt",
        f"stopwords/{lang}.more.txt",
        f"evaluation/norms/{lang}.words.txt",
    ]
    found = [(_DATA / name).read_text("utf-8") for name in names if (_DATA / name).exists()]
    return sorted({word for text in found for word in tokens(text, lang)})


def text_of(path: Path) -> str:
    raw = path.read_bytes()
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            return _body(raw.decode(encoding))
        except UnicodeDecodeError:
            continue
    return _body(raw.decode("latin-1"))


def _body(text: str) -> str:
    """Return what lies between the marks of Project Gutenberg, where it has them."""
    lines = text.splitlines()
    # The licence at the end has a line of the same form.
    opens = ("*** START", "***START", "*END*")
    closes = ("*** END", "***END", "End of the Project", "End of Project")
    starts = [n for n, line in enumerate(lines[: len(lines) // 2]) if line.startswith(opens)]
    first = starts[-1] + 1 if starts else 0
    ends = (n for n, line in enumerate(lines) if n > first and line.startswith(closes))
    return "\n".join(lines[first : next(ends, len(lines))])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
