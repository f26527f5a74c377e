-- The sources of a dataset, for the model card, with the number of pairs that each gave.
SELECT s.id, s.title, s.author, s.kind, s.rights, s.rights_basis, s.withdrawn_at,
       count(DISTINCT a.id) AS pairs
FROM pairs a JOIN sources s ON s.id = a.source_id
WHERE a.id IN (SELECT unnest(pair_ids) FROM conversations WHERE dataset_id = ?)
GROUP BY ALL ORDER BY pairs DESC, s.id
