-- The runs with their models, as `memoirist models` lists them.
SELECT r.id AS run, r.status, r.base_model, r.dataset_id, m.champion, m.step, m.way, m.dtype,
       m.alike, m.equal, m.prompts, m.kl, m.loss_base, m.loss_adapter, m.loss_merged, r.started_at,
       m.picked_at
FROM runs r LEFT JOIN models m ON m.run_id = r.id ORDER BY r.started_at, r.id
