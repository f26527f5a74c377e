-- The refused rows, and what is flagged in the others.
INSERT INTO verdicts BY NAME
SELECT id AS subject_id, 'rows' AS subject, fault AS rule, false AS keep, source_row AS score,
       'row ' || source_row || ': ' || reason AS reason,
       'mend that row, or say which column is what with --map' AS next_step,
       'extract' AS step, $source AS source_id, $now::TIMESTAMPTZ AS created_at
FROM exchanges WHERE source_id = $source AND fault IS NOT NULL AND fault <> 'doubtful';

INSERT INTO verdicts BY NAME
SELECT id AS subject_id, 'passages' AS subject, split_part(note, ':', 1) AS rule, true AS keep,
       split_part(note, ':', 2)::DOUBLE AS score, '' AS reason, 'nothing' AS next_step,
       'extract' AS step, $source AS source_id, $now::TIMESTAMPTZ AS created_at
FROM (
    SELECT id, unnest(string_split(notes, ' ')) AS note FROM exchanges
    WHERE source_id = $source AND notes IS NOT NULL AND fault IS NULL
);

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
