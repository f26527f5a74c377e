-- What the rules left out of some sources, for the model card.
SELECT subject, rule, count(DISTINCT subject_id) AS n FROM verdicts
WHERE NOT keep AND rule <> 'withdrawn' AND list_contains(?, source_id)
GROUP BY subject, rule ORDER BY n DESC, subject, rule LIMIT 30
