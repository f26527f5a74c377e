-- The conversations of a dataset version, $1, in one split, $2, each turn with its way back to its
-- source as it was when the version was made, and with the rights of today.
WITH conversation_turns AS (
    SELECT t.conversation_id, list({
        'pair_id': t.pair_id, 'source': t.source, 'author': t.author, 'document': t.document,
        'chapter': t.chapter, 'page_first': t.page_first, 'page_last': t.page_last,
        'start_seconds': t.start_seconds, 'end_seconds': t.end_seconds, 'speaker': t.speaker,
        'question_origin': t.question_origin, 'question_type': t.question_type,
        'question_model': t.question_model, 'prompt_version': t.prompt_version, 'score': t.score,
        'flags': t.flags, 'rights': coalesce(s.rights, 'unknown'),
        'passage_id': t.passage_id, 'question_id': t.question_id, 'document_id': t.document_id,
        'source_id': t.source_id, 'source_sha256': t.source_sha256
    } ORDER BY t.turn) AS turns
    FROM version_turns t LEFT JOIN sources s ON s.id = t.source_id
    WHERE t.dataset_id = $1 GROUP BY t.conversation_id
)
SELECT c.id, c.messages, c.n_tokens, t.turns
FROM conversations c LEFT JOIN conversation_turns t ON t.conversation_id = c.id
WHERE c.dataset_id = $1 AND c.split = $2 AND c.tool_turns IS NULL
ORDER BY c.id
