-- A verdict against every row of a source. $1 is the source's id, $2 the time.
INSERT INTO verdicts BY NAME
SELECT id AS subject_id, subject, 'withdrawn' AS rule, false AS keep,
       'its source was withdrawn' AS reason, $2::TIMESTAMPTZ AS created_at,
       'memoirist withdraw --undo' AS next_step, 'withdraw' AS step, $1 AS source_id
FROM (
    SELECT id, 'documents' AS subject FROM documents WHERE source_id = $1
    UNION ALL SELECT id, 'pages' FROM pages WHERE source_id = $1
    UNION ALL SELECT id, 'blocks' FROM blocks
        WHERE document_id IN (SELECT id FROM documents WHERE source_id = $1)
    UNION ALL SELECT id, 'passages' FROM passages WHERE source_id = $1
    UNION ALL SELECT id, 'pairs' FROM pairs WHERE source_id = $1
)
