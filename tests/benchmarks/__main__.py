"""Run every benchmark, one after the other."""

from __future__ import annotations

from tests.benchmarks import (
    books,
    bulk,
    curate_million,
    datasets_table,
    ebooks,
    estimates,
    families,
    held_out,
    instrument,
    interviewer,
    kills,
    near_duplicates,
    odd_pdfs,
    passage_borders,
    same_meaning,
    score_auc,
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
    near_duplicates.main()
    same_meaning.main()
    bulk.main()
    curate_million.main()
    instrument.main(CORPORA)
    interviewer.main()
    score_auc.main()
    families.main()
    held_out.main()
    kills.main()
    training.main()
    estimates.main([])
