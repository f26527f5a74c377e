-- The best whole threads: at most $of_group pairs of one group, and $most in all. Of a thread that is
-- longer than $most by itself, the beginning.
ranked AS (
    SELECT thread_id, min(group_id) AS group_id, avg(coalesce(score, 0)) AS score,
           least(count(*), $most) AS n, md5(thread_id || $seed) AS place
    FROM kept WHERE NOT mixed AND NOT train_only GROUP BY thread_id
), capped AS (
    SELECT *, sum(n) OVER (PARTITION BY group_id ORDER BY score DESC, place
                           ROWS UNBOUNDED PRECEDING) AS of_group
    FROM ranked
), chosen AS (
    SELECT * FROM (
        SELECT *, sum(n) OVER (ORDER BY score DESC, place ROWS UNBOUNDED PRECEDING) AS taken
        FROM capped WHERE of_group <= $of_group OR of_group = n
    ) WHERE taken <= $most
), selected AS (
    SELECT id FROM kept JOIN chosen USING (thread_id) WHERE NOT mixed AND NOT train_only
    QUALIFY row_number() OVER (PARTITION BY thread_id ORDER BY ord, id) <= $most
)
