-- What was left out of the sources, a list of ids in $1, by the rule that spoke against it.
SELECT subject, rule, count(DISTINCT subject_id) AS n FROM verdicts
WHERE NOT keep AND rule <> 'withdrawn' AND list_contains($1, source_id)
GROUP BY subject, rule ORDER BY n DESC, subject, rule
