-- The sources of a dataset version, $1, each with the number of its exchanges in it.
SELECT s.id, s.title, s.author, s.kind, s.rights, s.rights_basis, s.withdrawn_at, s.mix_share,
       count(DISTINCT a.id) AS pairs
FROM pairs a JOIN sources s ON s.id = a.source_id
WHERE a.id IN (SELECT unnest(pair_ids) FROM conversations WHERE dataset_id = $1)
GROUP BY ALL ORDER BY pairs DESC, s.id
