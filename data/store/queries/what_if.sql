-- What would come and go by other thresholds: temporary tables stand in for `thresholds`, `verdicts` and
-- `pair_scores`, `before` holds the drops of today. Counts by rule and source, with up to five examples.
WITH after AS (
    SELECT subject, subject_id, arg_min(rule, (created_at, rule)) AS rule, arg_min(reason, (created_at, rule)) AS reason
    FROM verdicts WHERE NOT keep AND subject IN ('passages', 'pairs') GROUP BY subject, subject_id
), changed AS (
    SELECT 'goes' AS change, a.* FROM after a ANTI JOIN before b USING (subject, subject_id)
    UNION ALL
    SELECT 'comes', b.* FROM before b ANTI JOIN after a USING (subject, subject_id)
), all_changed AS (
    FROM changed
    UNION ALL
    -- A pair goes with its passage.
    SELECT 'goes', 'pairs', p.id, c.rule, 'its passage goes: ' || c.reason
    FROM changed c JOIN made_pairs p ON p.passage_id = c.subject_id AND c.subject = 'passages' AND c.change = 'goes'
    WHERE p.id NOT IN (SELECT subject_id FROM before WHERE subject = 'pairs')
      AND p.id NOT IN (SELECT subject_id FROM changed WHERE subject = 'pairs')
)
SELECT c.change, c.subject, c.rule, s.title AS source,
       count(*) OVER (PARTITION BY c.change, c.subject, c.rule, s.id) AS n, c.subject_id AS id, c.reason,
       left(regexp_replace(coalesce(p.text, a.question), '\s+', ' ', 'g'), 80) AS example
FROM all_changed c
LEFT JOIN cut_passages p ON c.subject = 'passages' AND p.id = c.subject_id
LEFT JOIN made_pairs a ON c.subject = 'pairs' AND a.id = c.subject_id
JOIN sources s ON s.id = coalesce(p.source_id, a.source_id)
QUALIFY row_number() OVER (PARTITION BY c.change, c.subject, c.rule, s.id ORDER BY c.subject_id) <= 5
ORDER BY c.change, c.subject, n DESC, c.rule, s.title, c.subject_id;
