"""Run every benchmark, one after the other."""

from __future__ import annotations

from tests.benchmarks import (
    books,
    bulk,
    datasets_table,
    ebooks,
    estimates,
    families,
    held_out,
    instrument,
    interviewer,
    kills,
    odd_pdfs,
    passage_borders,
    spine,
    spoken_pairs,
    training,
    transcripts,
)
from tests.conftest import CORPORA

if __name__ == "__main__":
    transcripts.main()
    spoken_pairs.main()
    ebooks.main()
    spine.main()
    books.main()
    odd_pdfs.main()
    passage_borders.main()
    datasets_table.main()
    bulk.main()
    instrument.main(CORPORA)
    interviewer.main()
    families.main()
    held_out.main()
    kills.main()
    training.main()
    estimates.main([])
