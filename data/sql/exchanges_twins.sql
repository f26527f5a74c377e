-- Rows of one source that are the same to the letter: the first stands, the others are refused.
CREATE OR REPLACE TEMP TABLE twins AS
SELECT id, min(source_row) AS first_row FROM exchanges
WHERE source_id = $source AND fault IS NULL GROUP BY id HAVING count(*) > 1;

INSERT INTO verdicts BY NAME
SELECT row_id($source, e.source_row) AS subject_id,
       'rows' AS subject, 'row_twin' AS rule, false AS keep, e.source_row AS score,
       'row ' || e.source_row || ' is row ' || min(t.first_row) || ' again' AS reason,
       min(e.id) AS beaten_by, 'nothing: the first one is kept' AS next_step, 'extract' AS step,
       $source AS source_id, $now::TIMESTAMPTZ AS created_at
FROM exchanges e JOIN twins t ON t.id = e.id AND e.source_row > t.first_row
WHERE e.source_id = $source
GROUP BY e.source_row;

DELETE FROM exchanges USING twins
WHERE exchanges.id = twins.id AND exchanges.source_id = $source
  AND exchanges.source_row > twins.first_row;
