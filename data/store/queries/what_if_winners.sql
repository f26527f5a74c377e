-- After a trial of other thresholds: how many rows lost as near duplicates to one that would go.
WITH gone AS (
    SELECT subject_id FROM verdicts WHERE NOT keep EXCEPT SELECT subject_id FROM before
)
SELECT count(*) FROM duplicates
WHERE other_id IN (FROM gone) OR other_id IN (SELECT id FROM made_pairs WHERE passage_id IN (FROM gone))
