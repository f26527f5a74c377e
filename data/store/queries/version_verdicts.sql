-- What the dataset version $dataset leaves out, and why: pairs, and passages that never became one.
DELETE FROM version_verdicts WHERE dataset_id = $dataset;

INSERT INTO version_verdicts
WITH first AS (
    SELECT subject, subject_id, arg_min((rule, reason), place) AS verdict
    FROM (
        -- That a pair is of an earlier version says less than what became of its passage.
        SELECT *, (CASE rule WHEN 'withdrawn' THEN 0 WHEN 'superseded' THEN 2 ELSE 1 END,
                   created_at, rule) AS place
        FROM verdicts WHERE NOT keep AND subject IN ('passages', 'pairs')
    ) GROUP BY subject, subject_id
)
SELECT $dataset, 'pairs', a.id, verdict[1], verdict[2] FROM (
    SELECT a.id, CASE WHEN f.verdict[1] = 'superseded' THEN coalesce(p.verdict, f.verdict)
                      ELSE f.verdict END AS verdict
    FROM own_pairs a JOIN first f ON f.subject = 'pairs' AND f.subject_id = a.id
    LEFT JOIN first p ON p.subject = 'passages' AND p.subject_id = a.passage_id
) a WHERE a.id NOT IN (SELECT unnest(pair_ids) FROM conversations WHERE dataset_id = $dataset)
UNION ALL
SELECT $dataset, 'passages', subject_id, verdict[1], verdict[2] FROM first
WHERE subject = 'passages' AND subject_id NOT IN (SELECT passage_id FROM own_pairs);
