-- The pairs to label: chosen by a seeded hash among all pairs with a written question, so that the
-- same ones come again and a new pair may join them. Dropped pairs are included: recall needs them.
SELECT a.id, a.question, a.answer, q.quality AS score, l.good,
    (
        SELECT any_value(v.keep) FROM verdicts v
        WHERE v.subject = 'pairs' AND v.subject_id = a.id AND v.rule = 'judge' AND v.step = 'grade'
    ) AS judged
FROM made_pairs a
LEFT JOIN labels l ON l.pair_id = a.id
LEFT JOIN pair_scores q ON q.pair_id = a.id
WHERE a.origin IN ('generated', 'template')
  AND a.id NOT IN (
    SELECT subject_id FROM verdicts
    WHERE subject = 'pairs' AND rule IN ('superseded', 'duplicate')
  )
ORDER BY l.good IS NULL, md5(a.id || $seed)
LIMIT $n
