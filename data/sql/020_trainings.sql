-- How far each training is, for whoever looks while it goes on: written at each save, and every
-- half minute. What is left and what it takes stand under step 0 and are replaced each time.
CREATE VIEW trainings AS
SELECT r.id AS run_id, r.base_model, r.status, r.started_at,
       max(m.step) FILTER (m.name = 'loss') AS step,
       any_value(m.value::INTEGER) FILTER (m.name = 'total_steps') AS total_steps,
       arg_max(m.value, m.step) FILTER (m.name = 'loss') AS loss,
       arg_max(m.value, m.step) FILTER (m.name = 'eval_loss') AS held_out_loss,
       arg_max(m.value, m.step) FILTER (m.name = 'tokens_per_second') AS tokens_per_second,
       any_value(m.value) FILTER (m.name = 'memory_mb') AS memory_mb,
       any_value(m.value::INTEGER) FILTER (m.name = 'seconds_left' AND r.status = 'training')
           AS seconds_left
FROM runs r LEFT JOIN metrics m ON m.run_id = r.id
GROUP BY ALL;
