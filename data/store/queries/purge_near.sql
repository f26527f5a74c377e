-- Drop the texts of rank $rank that are close to one of a lower rank: answers ($part = 'answer') by
-- the share of their 5-grams that it holds, questions by the Jaccard similarity. Of the 5-grams that
-- a close text must share some are among the rarest: these alone are looked up. One that more than
-- 50 held texts have leads to 50 of them, which are alike then.
CREATE OR REPLACE TEMP TABLE held AS
SELECT key, n, need, unnest(grams) AS gram FROM texts
WHERE part = $part AND rank < $rank AND key NOT IN (SELECT key FROM purged);

CREATE OR REPLACE TEMP TABLE held_grams AS
SELECT gram, count(*) AS n_texts FROM held GROUP BY gram;

-- Of shared 5-grams how many are looked for among the rarest: all texts share the letters' common ones.
CREATE OR REPLACE TEMP TABLE rare AS
SELECT key, gram, least(need, $n_rare) AS n_rare
FROM (
    SELECT key, need, unnest(grams) AS gram FROM texts
    WHERE part = $part AND rank = $rank AND key NOT IN (SELECT key FROM purged)
) JOIN held_grams USING (gram)
QUALIFY count(*) OVER (PARTITION BY key) >= need
    AND row_number() OVER (PARTITION BY key ORDER BY n_texts, gram)
        <= count(*) OVER (PARTITION BY key) - need + least(need, $n_rare);

CREATE OR REPLACE TEMP TABLE indexed AS
SELECT key, gram FROM (
    SELECT key, gram FROM held JOIN held_grams USING (gram)
    QUALIFY $part = 'answer'
         OR row_number() OVER (PARTITION BY key ORDER BY n_texts, gram) <= n - need + $n_rare
)
QUALIFY row_number() OVER (PARTITION BY gram ORDER BY key) <= 50;

CREATE OR REPLACE TEMP TABLE candidates AS
FROM (
    SELECT r.key, i.key AS other, count(*) AS n FROM rare r JOIN indexed i USING (gram)
    GROUP BY r.key, i.key HAVING count(*) >= min(r.n_rare)
)
QUALIFY row_number() OVER (PARTITION BY key ORDER BY n DESC, other) <= 20;

INSERT INTO purged
SELECT key, other, $part, round(similarity, 3) FROM (
    SELECT c.key, c.other, n_shared, t.need, CASE $part WHEN 'answer' THEN n_shared / t.n
               ELSE n_shared / (t.n + o.n - n_shared) END AS similarity
    FROM candidates c
    JOIN texts t ON t.key = c.key AND t.part = $part
    JOIN texts o ON o.key = c.other AND o.part = $part
    CROSS JOIN LATERAL (
        SELECT len(list_filter(t.grams, lambda g: list_contains(o.grams, g))) AS n_shared
    )
)
WHERE n_shared >= need AND similarity >= $least
QUALIFY row_number() OVER (PARTITION BY key ORDER BY similarity DESC, other) = 1;
