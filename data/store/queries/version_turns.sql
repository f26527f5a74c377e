-- Keep where the turns of a dataset version, $1, come from, as it is now; `flags` are the rules that
-- marked an exchange or its passage and kept it.
INSERT INTO version_turns BY NAME
WITH turns AS (
    SELECT l.*, s.author FROM lineage l JOIN sources s ON s.id = l.source_id WHERE l.dataset_id = $1
), flagged AS (
    SELECT t.pair_id, list(DISTINCT v.rule ORDER BY v.rule) AS flags
    FROM (
        SELECT pair_id, 'pairs' AS subject, pair_id AS subject_id FROM turns
        UNION ALL
        SELECT pair_id, 'passages', passage_id FROM turns
    ) t
    JOIN verdicts v ON v.subject = t.subject AND v.subject_id = t.subject_id
    WHERE v.keep GROUP BY t.pair_id
)
SELECT t.dataset_id, t.conversation_id, t.turn, t.pair_id, t.source, t.author, t.document, t.chapter,
       t.page_first, t.page_last, t.start_seconds, t.end_seconds, t.speaker, t.origin AS question_origin,
       t.type AS question_type, t.model AS question_model, t.prompt_version, t.score,
       coalesce(f.flags, []::VARCHAR[]) AS flags, t.passage_id, t.question_id, t.document_id,
       t.source_id, t.sha256 AS source_sha256
FROM turns t LEFT JOIN flagged f ON f.pair_id = t.pair_id
