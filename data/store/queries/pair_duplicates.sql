-- Made pairs whose words another has before them: case and punctuation aside, the same question and
-- answer. Only verdicts that differ from the stored ones are written.
CREATE OR REPLACE TEMP TABLE twins AS
SELECT t.id AS subject_id, 'pairs' AS subject, 'duplicate' AS rule, false AS keep, q.quality AS score,
       'the same question and answer stand in pair ' || winner AS reason, winner AS beaten_by,
       'nothing' AS next_step, 'curate' AS step, t.source_id
FROM (
    SELECT a.id, a.source_id, first_value(a.id) OVER (
               PARTITION BY tokens_of(nfc_normalize(question)), tokens_of(nfc_normalize(answer))
               ORDER BY s.added_at, s.id, p.document_id, p.ord, a.thread_id = a.question_id, a.id) AS winner
    FROM made_pairs a JOIN sources s ON s.id = a.source_id JOIN cut_passages p ON p.id = a.passage_id
    WHERE s.format <> 'disclosure' AND a.id NOT IN (
        SELECT subject_id FROM verdicts WHERE step = 'curate' AND rule = 'superseded')
) t JOIN pair_scores q ON q.pair_id = t.id
WHERE winner <> t.id;

DELETE FROM verdicts
WHERE step = 'curate' AND subject = 'pairs' AND rule = 'duplicate'
  AND (subject_id, reason, score) NOT IN (SELECT (subject_id, reason, score) FROM twins);

INSERT INTO verdicts BY NAME
SELECT *, now() AS created_at FROM twins
ANTI JOIN (SELECT subject_id, rule FROM verdicts WHERE step = 'curate') USING (subject_id, rule);
