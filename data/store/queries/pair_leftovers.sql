-- wanted(id): the pairs of today. What only an earlier dataset holds is superseded, and a question of a
-- paired passage without a pair was not chosen. Only verdicts that differ from the stored ones are written.
CREATE OR REPLACE TEMP TABLE leftovers AS
SELECT id AS subject_id, 'pairs' AS subject, 'superseded' AS rule, NULL AS beaten_by,
       'only an earlier dataset contains it; its passage now has another pair or none' AS reason, source_id
FROM made_pairs WHERE origin <> 'disclosure' AND id NOT IN (SELECT id FROM wanted)
UNION ALL
SELECT q.id, 'questions', 'not_chosen', p.question_id, 'the passage has a better question', p.source_id
FROM asked_questions q JOIN (
    -- Of two pairs of a passage, the second question's, which has a thread of its own.
    SELECT passage_id, arg_max(question_id, thread_id = question_id) AS question_id,
           any_value(source_id) AS source_id
    FROM made_pairs WHERE id IN (SELECT id FROM wanted) GROUP BY passage_id
) p ON p.passage_id = q.passage_id
WHERE q.origin <> 'disclosure' AND (q.origin <> 'generated' OR q.nth IS NOT NULL)
  AND q.id NOT IN (SELECT question_id FROM made_pairs WHERE id IN (SELECT id FROM wanted));

DELETE FROM verdicts
WHERE step = 'curate' AND rule IN ('superseded', 'not_chosen')
  AND (subject_id, rule, coalesce(beaten_by, '')) NOT IN (
      SELECT (subject_id, rule, coalesce(beaten_by, '')) FROM leftovers);

INSERT INTO verdicts BY NAME
SELECT *, false AS keep, 'nothing' AS next_step, 'curate' AS step, now() AS created_at FROM leftovers
ANTI JOIN (SELECT subject_id, rule FROM verdicts WHERE step = 'curate') USING (subject_id, rule);
