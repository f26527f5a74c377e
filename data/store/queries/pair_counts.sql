-- The pairs of today by the first rule that drops them, NULL for the kept ones; without what is withdrawn,
-- what only an earlier dataset holds, and the disclosure, which is not judged.
SELECT v.rule, count(*)::INTEGER AS n
FROM pairs a JOIN sources s ON s.id = a.source_id AND s.withdrawn_at IS NULL
LEFT JOIN (
    SELECT subject_id, arg_min(rule, (created_at, rule)) AS rule, bool_or(rule = 'superseded') AS superseded
    FROM verdicts WHERE subject = 'pairs' AND NOT keep AND step IN ('curate', 'dedupe')
    GROUP BY subject_id
) v ON v.subject_id = a.id
WHERE v.superseded IS NOT true AND a.origin <> 'disclosure'
GROUP BY v.rule ORDER BY n DESC, v.rule
