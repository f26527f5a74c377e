"""Run every benchmark, one after the other."""

from __future__ import annotations

from tests.benchmarks import (
    books,
    bulk,
    datasets_table,
    ebooks,
    families,
    interviewer,
    kills,
    odd_pdfs,
    spine,
    training,
    transcripts,
)

if __name__ == "__main__":
    transcripts.main()
    ebooks.main()
    spine.main()
    books.main()
    odd_pdfs.main()
    datasets_table.main()
    bulk.main()
    interviewer.main()
    families.main()
    kills.main()
    training.main()
