-- The pairs of a dataset by the origin of their question, for the model card.
SELECT origin, count(*) AS n FROM pairs
WHERE id IN (SELECT unnest(pair_ids) FROM conversations WHERE dataset_id = ?)
GROUP BY origin ORDER BY n DESC, origin
