-- Drop the answers of rank $rank that share $max_shared_run words in a row with one of a lower rank.
INSERT INTO purged
WITH held AS (
    SELECT run, min(key) AS key FROM (
        SELECT key, unnest(runs_of(units, $max_shared_run)) AS run FROM texts
        WHERE part = 'answer' AND rank < $rank AND key NOT IN (SELECT key FROM purged)
    ) GROUP BY run
), own AS (
    SELECT key, unnest(runs_of(units, $max_shared_run)) AS run FROM texts
    WHERE part = 'answer' AND rank = $rank
)
SELECT own.key, min(held.key), 'run', $max_shared_run FROM own JOIN held USING (run) GROUP BY own.key;
