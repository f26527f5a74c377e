"""Run every benchmark, one after the other."""

from __future__ import annotations

from tests.benchmarks import books, spine, transcripts

if __name__ == "__main__":
    transcripts.main()
    spine.main()
    books.main()
