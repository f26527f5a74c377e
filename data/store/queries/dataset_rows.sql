-- The conversations of a dataset version, $1, in one split, $2, each turn with its way back to its
-- source; `flags` are the rules that marked an exchange or its passage and kept it.
WITH turns AS (
    SELECT l.*, s.author FROM lineage l JOIN sources s ON s.id = l.source_id
    WHERE l.dataset_id = $1 AND l.split = $2
), flagged AS (
    SELECT t.pair_id, list(DISTINCT v.rule ORDER BY v.rule) AS flags
    FROM (
        SELECT pair_id, 'pairs' AS subject, pair_id AS subject_id FROM turns
        UNION ALL
        SELECT pair_id, 'passages', passage_id FROM turns
    ) t
    JOIN verdicts v ON v.subject = t.subject AND v.subject_id = t.subject_id
    WHERE v.keep GROUP BY t.pair_id
), conversation_turns AS (
    SELECT t.conversation_id, list({
        'pair_id': t.pair_id, 'source': t.source, 'author': t.author, 'document': t.document,
        'chapter': t.chapter, 'page_first': t.page_first, 'page_last': t.page_last,
        'start_seconds': t.start_seconds, 'end_seconds': t.end_seconds, 'speaker': t.speaker,
        'question_origin': t.origin, 'question_type': t.type, 'question_model': t.model,
        'prompt_version': t.prompt_version, 'score': t.score,
        'flags': coalesce(f.flags, []::VARCHAR[]), 'rights': coalesce(t.rights, 'unknown'),
        'passage_id': t.passage_id, 'question_id': t.question_id, 'document_id': t.document_id,
        'source_id': t.source_id, 'source_sha256': t.sha256
    } ORDER BY t.turn) AS turns
    FROM turns t LEFT JOIN flagged f ON f.pair_id = t.pair_id
    GROUP BY t.conversation_id
)
SELECT c.id, c.messages, c.n_tokens, t.turns
FROM conversations c LEFT JOIN conversation_turns t ON t.conversation_id = c.id
WHERE c.dataset_id = $1 AND c.split = $2
ORDER BY c.id
