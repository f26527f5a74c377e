-- How many pairs of sources in use are left out of the newest dataset, by what leaves them out.
SELECT CASE WHEN v.rule = 'not_selected' AND contains(v.next_step, 'max_pairs')
            THEN 'above compose.max_pairs'
            WHEN v.rule = 'not_selected' THEN 'beyond their share'
            WHEN v.rule = 'unjudged' THEN 'not judged yet'
            WHEN v.rule = 'group_full' THEN 'above compose.max_group_pairs'
            WHEN v.rule = 'test_overlap' THEN 'too close to test'
            WHEN v.rule = 'validation_overlap' THEN 'too close to validation'
            WHEN v.rule = 'split_gap' THEN 'between two splits'
            ELSE 'duplicates' END AS what, count(DISTINCT subject_id)::INTEGER AS n
FROM verdicts v JOIN sources s ON s.id = v.source_id
WHERE v.subject = 'pairs' AND NOT v.keep AND s.withdrawn_at IS NULL
  AND (v.step = 'compose' OR contains(v.rule, 'duplicate'))
GROUP BY what ORDER BY n DESC, what;
