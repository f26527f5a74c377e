-- The pairs that a dataset may take; `mixed` ones are not the persona's, and `train_only` ones (saved
-- in a talk, or teaching the disclosure) are never held out.
WITH kept AS (
    SELECT a.id, a.source_id, a.group_id, a.thread_id, a.ord, a.score,
           s.mix_share IS NOT NULL AS mixed, a.origin IN ('curated', 'disclosure') AS train_only
    FROM own_pairs a JOIN sources s ON s.id = a.source_id
    WHERE s.withdrawn_at IS NULL
      -- The exchanges of a source count once they have been judged.
      AND (a.origin <> 'given' OR a.source_id IN (SELECT subject_id FROM done WHERE step = 'pair'))
      AND a.id NOT IN (
        SELECT subject_id FROM verdicts
        WHERE subject = 'pairs' AND NOT keep AND step IN ('curate', 'grade', 'dedupe')
    )
)
