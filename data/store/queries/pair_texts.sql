-- The texts to embed for the made pairs without a cosine, and for the samples of their scopes: the last
-- $words words of each question and each answer, under the hash of the text.
CREATE OR REPLACE TEMP TABLE uncompared AS
SELECT g.pair_id, g.scope FROM pair_signals g JOIN made_pairs a ON a.id = g.pair_id
WHERE g.match IS NOT NULL AND g.cosine IS NULL;

CREATE OR REPLACE TEMP TABLE pair_texts AS
SELECT DISTINCT pair_id, scope, side, md5(text) AS key, text
FROM (
    SELECT u.pair_id, u.scope, unnest(['q', 'a']) AS side,
           unnest([array_to_string(string_split_regex(a.question, '\s+')[-$words:], ' '), a.answer]) AS text
    FROM (
        FROM uncompared
        UNION
        SELECT pair_id, scope FROM (
            SELECT scope, unnest(min(pair_id, 2000)) AS pair_id FROM pair_signals GROUP BY scope
        ) WHERE scope IN (SELECT scope FROM uncompared)
    ) u JOIN made_pairs a ON a.id = u.pair_id
);
