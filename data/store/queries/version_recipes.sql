-- What differs between the recipes of two dataset versions, $1 and $2.
SELECT string_agg(key || ': ' || coalesce(before, 'none') || ' -> ' || coalesce(after, 'none'), ', '
                  ORDER BY key)
FROM (
    SELECT coalesce(a.key, b.key) AS key, a.value AS before, b.value AS after
    FROM (FROM recipe_keys WHERE dataset_id = $1) a
    FULL JOIN (FROM recipe_keys WHERE dataset_id = $2) b ON a.key = b.key
    WHERE a.value IS DISTINCT FROM b.value
) WHERE (SELECT bool_and(recipe IS NOT NULL) FROM datasets WHERE id IN ($1, $2));
