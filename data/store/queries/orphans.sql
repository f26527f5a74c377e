-- Rows whose parent is not there, by table and the column that names it. Questions outlive their
-- passages, and pairs of former versions theirs: those are no orphans.
SELECT * FROM (
    SELECT 'documents' AS "table", 'source_id' AS "column", count(*) AS n
    FROM documents d ANTI JOIN sources s ON s.id = d.source_id
    UNION ALL SELECT 'blocks', 'document_id', count(*)
    FROM blocks b ANTI JOIN documents d ON d.id = b.document_id
    UNION ALL SELECT 'passages', 'document_id', count(*)
    FROM cut_passages p ANTI JOIN documents d ON d.id = p.document_id
    WHERE p.source_id IN (SELECT source_id FROM documents)
    UNION ALL SELECT 'passages', 'source_id', count(*)
    FROM cut_passages p ANTI JOIN sources s ON s.id = p.source_id
    UNION ALL SELECT 'exchanges', 'source_id', count(*)
    FROM exchanges e ANTI JOIN sources s ON s.id = e.source_id
    UNION ALL SELECT 'conversations', 'dataset_id', count(*)
    FROM conversations c ANTI JOIN datasets d ON d.id = c.dataset_id
    UNION ALL SELECT 'conversations', 'pair_ids', count(*)
    FROM (
        SELECT unnest(pair_ids) AS pair_id FROM conversations
        WHERE dataset_id = (SELECT id FROM datasets ORDER BY used_at DESC LIMIT 1)
    ) c ANTI JOIN pairs p ON p.id = c.pair_id
    UNION ALL SELECT 'runs', 'dataset_id', count(*)
    FROM runs r ANTI JOIN datasets d ON d.id = r.dataset_id
    UNION ALL SELECT 'models', 'run_id', count(*)
    FROM models m ANTI JOIN runs r ON r.id = m.run_id
    UNION ALL SELECT 'metrics', 'run_id', count(*)
    FROM metrics m ANTI JOIN runs r ON r.id = m.run_id
    UNION ALL SELECT 'evaluations', 'run_id', count(*)
    FROM evaluations e ANTI JOIN runs r ON r.id = e.run_id
    UNION ALL SELECT 'answers', 'run_id', count(*)
    FROM answers a ANTI JOIN runs r ON r.id = a.run_id
)
WHERE n > 0
