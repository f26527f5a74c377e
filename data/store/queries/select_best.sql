-- The best whole threads: at most $of_group pairs of one group, and $most in all.
ranked AS (
    SELECT thread_id, min(group_id) AS group_id, avg(coalesce(score, 0)) AS score,
           count(*) AS n, md5(thread_id || $seed) AS place
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
)
