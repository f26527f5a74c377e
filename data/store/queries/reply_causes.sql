-- How often each cause left a request of one purpose without a usable reply, and what to do next.
-- An answer counts before a failure under the same key, and the last failure before others; an
-- answer that the rules of a step refuse counts by its rule.
WITH last AS (
    FROM requests WHERE purpose = $purpose AND key IN (SELECT unnest($keys::VARCHAR[]))
    QUALIFY row_number() OVER (PARTITION BY key ORDER BY status = 'ok' DESC, created_at DESC) = 1
)
SELECT coalesce(cause, rule) AS cause, status = 'ok' AS answered, count(*) AS n,
       mode(next_step) AS next_step
FROM last
GROUP BY ALL
ORDER BY n DESC, cause;
