-- The exchanges of a source that has been read are pairs from now on.
INSERT INTO done BY NAME
SELECT DISTINCT source_id AS subject_id, 'pair' AS step, '' AS fingerprint FROM exchanges
WHERE source_id IN (SELECT subject_id FROM done WHERE step = 'extract')
  AND source_id NOT IN (SELECT subject_id FROM done WHERE step = 'pair');

DELETE FROM verdicts WHERE step = 'judge';

-- What only an earlier dataset version holds.
INSERT INTO verdicts BY NAME
SELECT id AS subject_id, 'passages' AS subject, 'superseded' AS rule, false AS keep,
       'only an earlier dataset contains it; its row has changed or is gone' AS reason,
       'nothing' AS next_step, 'judge' AS step, source_id, $now::TIMESTAMPTZ AS created_at
FROM cut_passages WHERE source_row IS NOT NULL;
