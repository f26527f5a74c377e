-- The exchanges of a dataset version, $1, by where their questions come from.
SELECT origin, count(*) AS n FROM pairs
WHERE id IN (SELECT unnest(pair_ids) FROM conversations WHERE dataset_id = $1)
GROUP BY origin ORDER BY n DESC, origin
