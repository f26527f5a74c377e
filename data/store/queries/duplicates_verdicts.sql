-- The verdicts of what was compared ($subject); `judged_ids` has the pairs that share the fate of each.
-- Only verdicts that change are written.
CREATE OR REPLACE TEMP TABLE asked_alike AS
SELECT id, question FROM own_pairs WHERE id IN (
    SELECT unnest([id, other_id]) FROM outcomes WHERE part = 'answers' AND is_same AND other_id IS NOT NULL);

CREATE OR REPLACE TEMP TABLE judged AS
SELECT subject_id, source_id, o.part, o.other_id, o.cluster, o.is_same, o.similarity, o.measure,
       o.is_same AND (o.part IN ('passages', 'exchanges', 'long_exchanges')
                      OR (o.part = 'answers' AND a.id IS NOT NULL)) AS is_twin
FROM outcomes o JOIN judged_ids j ON j.part = o.part AND j.id = o.id
LEFT JOIN (
    SELECT a.id, b.id AS other_id FROM outcomes o
    JOIN asked_alike a ON a.id = o.id JOIN asked_alike b ON b.id = o.other_id
    WHERE o.part = 'answers' AND o.is_same AND plain_words(a.question) = plain_words(b.question)
) a ON a.id = o.id AND a.other_id = o.other_id;

DELETE FROM duplicates WHERE subject = $subject;
INSERT INTO duplicates BY NAME
SELECT $subject AS subject, subject_id, other_id, part, cluster,
       CASE WHEN other_id IS NOT NULL THEN measure END AS measure,
       CASE WHEN other_id IS NOT NULL THEN similarity END AS similarity
FROM judged QUALIFY row_number() OVER (PARTITION BY subject_id ORDER BY other_id IS NULL, part) = 1;

CREATE OR REPLACE TEMP TABLE decided AS
SELECT subject_id, source_id, other_id, round(similarity, 4) AS score,
       CASE WHEN is_twin THEN 'duplicate' ELSE 'near_duplicate' END AS rule,
       CASE WHEN is_twin THEN 'the same words, apart from case and punctuation, are in '
            WHEN is_same AND part = 'answers' THEN 'the same answer, to another question, is in '
            WHEN is_same THEN 'the same question, with another answer, is in '
            WHEN measure = 'containment'
            THEN format('{:.2f} of the shorter text is also in the longer one (limit {}), compared with ',
                        similarity, $min_containment)
            WHEN measure = 'cosine'
            THEN format('the answer means the same (cosine {:.2f}, limit {}) as that of ',
                        similarity, $min_cosine)
            WHEN similarity < min_jaccard
            THEN format('near duplicates of the same text; {:.2f} of both is the same, compared with ', similarity)
            ELSE format('{:.2f} of both {} is the same (limit {}), compared with ', similarity,
                        CASE part WHEN 'questions' THEN 'questions' ELSE 'texts' END, min_jaccard) END
       || CASE $subject WHEN 'passages' THEN 'passage ' ELSE 'pair ' END || other_id AS reason
FROM (
    SELECT *, CASE WHEN part IN ('questions', 'exchanges') THEN $min_question_jaccard
                   ELSE $min_jaccard END AS min_jaccard
    FROM judged WHERE other_id IS NOT NULL
);

DELETE FROM verdicts WHERE step = 'dedupe' AND subject = $subject AND NOT EXISTS (
    SELECT 1 FROM decided t WHERE t.subject_id = verdicts.subject_id AND t.rule = verdicts.rule
                           AND t.reason = verdicts.reason);
INSERT INTO verdicts BY NAME
SELECT subject_id, $subject AS subject, rule, false AS keep, score, reason, other_id AS beaten_by,
       '`memoirist look why ' || other_id || '` shows the one that is kept; the limits are under'
       || ' [curate.duplicates] in the recipe' AS next_step,
       'dedupe' AS step, source_id, $now::TIMESTAMPTZ AS created_at
FROM decided WHERE subject_id NOT IN (SELECT subject_id FROM verdicts WHERE step = 'dedupe' AND subject = $subject);
