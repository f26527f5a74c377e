-- The pairs that neither a rule nor the judge drops. Those of one passage, and of one conversation of a dataset, are one unit.
CREATE OR REPLACE TEMP TABLE members AS
SELECT a.*, s.score, o.mixed, o.place AS source_place, tier_of(a.origin) AS tier
FROM (
    SELECT id, passage_id AS unit, source_id, origin, 0 AS ord FROM made_pairs
    WHERE origin <> 'disclosure'
    UNION ALL
    SELECT id, coalesce(thread_id, id), source_id, 'given', ord FROM exchanges
    WHERE fault IS NULL AND source_id IN (SELECT subject_id FROM done WHERE step = 'pair')
) a JOIN source_order o USING (source_id) LEFT JOIN pair_scores s ON s.pair_id = a.id
WHERE a.id NOT IN (SELECT subject_id FROM verdicts
                   WHERE subject = 'pairs' AND NOT keep AND step IN ('curate', 'grade'));

-- A unit goes by the id of its first pair. Real questions come first, then generated ones, then templates.
CREATE OR REPLACE TEMP TABLE units AS
SELECT *, row_number() OVER (ORDER BY mixed, tier, score DESC, source_place, id) AS place
FROM (
    SELECT unit, arg_min(id, (ord, tier, -coalesce(score, 0), id)) AS id, min(tier) AS tier,
           coalesce(max(score), 0) AS score, any_value(mixed) AS mixed,
           any_value(source_place) AS source_place, count(*) AS n
    FROM members GROUP BY unit
);

-- What is learnt of each unit: of a conversation all its turns.
CREATE OR REPLACE TEMP VIEW unit_texts AS
SELECT u.id, p.question, p.answer FROM made_pairs p JOIN units u ON u.id = p.id
UNION ALL
SELECT u.id, e.question, e.answer FROM exchanges e JOIN units u ON u.id = e.id
WHERE e.thread_id IS NULL
UNION ALL
SELECT u.id, t.question, t.answer FROM (
    SELECT thread_id, string_agg(question, ' ' ORDER BY ord) AS question,
           string_agg(answer, ' ' ORDER BY ord) AS answer
    FROM exchanges WHERE thread_id IS NOT NULL GROUP BY thread_id
) t JOIN units u ON u.unit = t.thread_id;

-- The written and spoken pairs that the model of sentences has compared.
CREATE OR REPLACE TEMP VIEW meant_texts AS
SELECT u.id, p.answer FROM made_pairs p JOIN units u ON u.id = p.id
JOIN pair_signals g ON g.pair_id = p.id AND g.cosine IS NOT NULL;

-- The questions of the persona's own pairs, where any was written and not asked by people.
CREATE OR REPLACE TEMP VIEW asked AS
SELECT p.id, p.question FROM made_pairs p JOIN members m ON m.id = p.id
UNION ALL
SELECT e.id, e.question FROM exchanges e JOIN members m ON m.id = e.id
WHERE NOT m.mixed AND strlen(e.question) <= 400
  AND EXISTS (SELECT 1 FROM made_pairs WHERE origin IN ('generated', 'template'));

-- A verdict on a unit is one on each of its pairs, one on a question is on its pair alone.
CREATE OR REPLACE TEMP VIEW judged_ids AS
SELECT p.part, u.id, m.id AS subject_id, m.source_id
FROM members m JOIN units u USING (unit),
     (SELECT unnest(['answers', 'exchanges', 'long_exchanges', 'meanings']) AS part) p
UNION ALL
SELECT 'questions', id, id, source_id FROM members;

