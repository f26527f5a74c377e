-- The passages of files that pass the gates; what has a question comes first, a real one before all.
CREATE OR REPLACE TEMP VIEW items AS
SELECT p.id, NULL::VARCHAR AS question, p.text AS answer, p.source_id
FROM cut_passages p JOIN sources s ON s.id = p.source_id
WHERE s.withdrawn_at IS NULL AND s.format NOT IN ('chat', 'disclosure') AND p.source_row IS NULL
  AND p.id NOT IN (SELECT subject_id FROM verdicts
                   WHERE subject = 'passages' AND NOT keep AND step = 'gate');

CREATE OR REPLACE TEMP TABLE ranked AS
SELECT p.id, coalesce(q.tier, 3) AS tier, true AS can_lose,
       row_number() OVER (ORDER BY coalesce(q.tier, 3), o.place, p.id) AS place
FROM items p JOIN source_order o USING (source_id) LEFT JOIN (
    SELECT passage_id, min(tier_of(origin)) AS tier FROM asked_questions
    WHERE origin <> 'generated' OR nth IS NOT NULL GROUP BY passage_id
) q ON q.passage_id = p.id;
