-- The cosine of question and answer, for the made pairs without one, centred like `match`: less the mean
-- of the question over the answers of the scope's sample and of the answer over its questions.
-- pair_texts.sql names the texts.
CREATE OR REPLACE TEMP TABLE uncompared AS
SELECT g.pair_id, g.scope FROM pair_signals g JOIN made_pairs a ON a.id = g.pair_id
WHERE g.match IS NOT NULL AND g.cosine IS NULL;

CREATE OR REPLACE TEMP TABLE mean_vectors AS
SELECT scope, side, list(mean ORDER BY place) AS vector
FROM (
    SELECT scope, side, place, avg(value) AS mean
    FROM (SELECT s.scope, t.side, unnest(e.vector) AS value, generate_subscripts(e.vector, 1) AS place
          FROM (SELECT scope, unnest(min(pair_id, 2000)) AS pair_id FROM pair_signals GROUP BY scope) s
          JOIN pair_texts t USING (pair_id) JOIN embeddings e USING (key)
          WHERE s.scope IN (SELECT scope FROM uncompared))
    GROUP BY scope, side, place
) GROUP BY scope, side;

UPDATE pair_signals SET cosine = c.cosine
FROM (
    SELECT u.pair_id, round(list_dot_product(q.vector, a.vector) - list_dot_product(q.vector, ma.vector)
               - list_dot_product(mq.vector, a.vector), 4) AS cosine
    FROM uncompared u
    JOIN pair_texts tq ON tq.pair_id = u.pair_id AND tq.side = 'q'
    JOIN pair_texts ta ON ta.pair_id = u.pair_id AND ta.side = 'a'
    JOIN embeddings q ON q.key = tq.key JOIN embeddings a ON a.key = ta.key
    JOIN mean_vectors mq ON mq.scope = u.scope AND mq.side = 'q'
    JOIN mean_vectors ma ON ma.scope = u.scope AND ma.side = 'a'
) c WHERE c.pair_id = pair_signals.pair_id;
