CREATE OR REPLACE TEMP TABLE taken AS
SELECT question_id(t.passage_id, c.text) AS id, t.passage_id, t.id AS candidate_id, c.key, c.text,
       c.type, t.nth
FROM (SELECT passage_id, id, 1 AS nth FROM chosen UNION ALL SELECT passage_id, id, 2 FROM seconds) t
JOIN answered a USING (passage_id)
JOIN candidates c ON c.key = a.key AND c.id = t.id;

-- What is no longer chosen goes, and its candidate stays. A question that a dataset holds stays as
-- well, or the way back from it would be lost; without a place it is asked no more.
UPDATE asked_questions SET nth = t.nth FROM taken t
WHERE t.id = asked_questions.id AND asked_questions.nth IS DISTINCT FROM t.nth;
DELETE FROM asked_questions
WHERE origin = 'generated' AND id NOT IN (SELECT id FROM taken)
  AND passage_id IN (SELECT passage_id FROM answered)
  AND id NOT IN (SELECT question_id FROM made_pairs
                 WHERE id IN (SELECT unnest(pair_ids) FROM conversations));
UPDATE asked_questions SET nth = NULL
WHERE origin = 'generated' AND nth IS NOT NULL AND id NOT IN (SELECT id FROM taken)
  AND passage_id IN (SELECT passage_id FROM answered);
-- A reply is paid for once: its price stands at the first question.
INSERT INTO asked_questions BY NAME
SELECT t.id, t.passage_id, t.text, t.type, 'generated' AS origin, r.model, r.prompt_version,
       CASE t.nth WHEN 1 THEN r.tokens_in ELSE 0 END AS tokens_in,
       CASE t.nth WHEN 1 THEN r.tokens_out ELSE 0 END AS tokens_out,
       CASE WHEN t.nth = 1 OR r.cost_usd IS NULL THEN r.cost_usd ELSE 0 END AS cost_usd,
       r.id AS request_id, t.nth
FROM taken t JOIN requests r ON r.id = t.key
WHERE t.id NOT IN (SELECT id FROM asked_questions)
ORDER BY t.nth, t.id;

DELETE FROM verdicts WHERE step = 'ask' AND subject = 'candidates';
DELETE FROM verdicts WHERE step = 'ask' AND subject = 'passages'
  AND subject_id IN (SELECT passage_id FROM wanted);
INSERT INTO verdicts BY NAME
SELECT c.id AS subject_id, 'candidates' AS subject, coalesce(any_value(c.rule), 'not_chosen') AS rule,
       false AS keep, any_value(c.score) AS score,
       coalesce(any_value(c.reason), 'its passage has a better question') AS reason,
       min(t.id) AS beaten_by,
       CASE WHEN any_value(c.rule) IS NULL THEN 'nothing'
            ELSE 'the limits are under [curate.rejects] in the recipe' END AS next_step,
       'ask' AS step, min(a.source_id) AS source_id, $now::TIMESTAMPTZ AS created_at
FROM answered a JOIN candidates c ON c.key = a.key
LEFT JOIN taken t ON t.passage_id = a.passage_id AND t.nth = 1
WHERE c.id NOT IN (SELECT candidate_id FROM taken)
GROUP BY c.id;
-- The passages that got no question, and why: by the answer, or by the last failure.
INSERT INTO verdicts BY NAME
WITH last AS (
    SELECT w.passage_id, w.source_id, arg_max(r.id, (r.id = w.key, r.created_at, r.id)) AS id
    FROM wanted w JOIN requests r ON r.key = w.key
    WHERE w.passage_id NOT IN (SELECT passage_id FROM taken)
    GROUP BY w.passage_id, w.source_id
)
SELECT l.passage_id AS subject_id, 'passages' AS subject, r.rule, false AS keep, r.error AS reason,
       r.next_step, 'ask' AS step, l.source_id, $now::TIMESTAMPTZ AS created_at
FROM last l JOIN requests r ON r.id = l.id
WHERE r.rule IS NOT NULL;
