-- The counts that decide about a new training: pairs that no evaluated model has learnt, pairs of
-- the newest dataset whose source is withdrawn, and models.
SELECT
    (
        SELECT count(*) FROM kept
        WHERE id NOT IN (
            SELECT unnest(pair_ids) FROM conversations
            WHERE dataset_id IN (SELECT dataset_id FROM runs WHERE status = 'evaluated')
        ) AND id NOT IN (SELECT subject_id FROM verdicts WHERE step = 'compose' AND NOT keep)
    ) AS n_new,
    (
        SELECT count(*) FROM pairs
        WHERE id IN (
            SELECT unnest(pair_ids) FROM conversations
            WHERE dataset_id = (SELECT id FROM datasets ORDER BY used_at DESC LIMIT 1)
        ) AND source_id IN (SELECT id FROM sources WHERE withdrawn_at IS NOT NULL)
    ) AS n_withdrawn,
    (SELECT count(*) FROM models) AS n_models
