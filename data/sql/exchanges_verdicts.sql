-- The refused rows, and what is flagged in the others.
INSERT INTO verdicts BY NAME
SELECT id AS subject_id, 'rows' AS subject, fault AS rule, false AS keep, source_row AS score,
       'row ' || source_row || ': ' || reason AS reason,
       'mend that row, or say which column is what with --map' AS next_step,
       'extract' AS step, $source AS source_id, $now::TIMESTAMPTZ AS created_at
FROM exchanges WHERE source_id = $source AND fault IS NOT NULL;

INSERT INTO verdicts BY NAME
SELECT id AS subject_id, 'passages' AS subject, split_part(note, ':', 1) AS rule, true AS keep,
       split_part(note, ':', 2)::DOUBLE AS score, '' AS reason, 'nothing' AS next_step,
       'extract' AS step, $source AS source_id, $now::TIMESTAMPTZ AS created_at
FROM (
    SELECT id, unnest(string_split(notes, ' ')) AS note FROM exchanges
    WHERE source_id = $source AND notes IS NOT NULL AND fault IS NULL
);
