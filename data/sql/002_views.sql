-- The views for people. Each can be pasted into any DuckDB client.

-- What a thing was dropped by: its first verdict that does not keep it.
CREATE OR REPLACE VIEW dropped AS
SELECT v.subject, v.subject_id, v.rule, v.reason, v.score, v.beaten_by, v.next_step, v.step,
       v.source_id, s.title AS source,
       coalesce(b.text, p.text, a.question, d.title) AS text,
       coalesce(b.page, p.page_first, ap.page_first) AS page,
       coalesce(b.start_seconds, p.start_seconds, ap.start_seconds) AS start_seconds,
       v.created_at
FROM verdicts v
LEFT JOIN sources s ON s.id = v.source_id
LEFT JOIN blocks b ON v.subject = 'blocks' AND b.id = v.subject_id
LEFT JOIN passages p ON v.subject = 'passages' AND p.id = v.subject_id
LEFT JOIN pairs a ON v.subject = 'pairs' AND a.id = v.subject_id
LEFT JOIN passages ap ON ap.id = a.passage_id
LEFT JOIN documents d ON v.subject = 'documents' AND d.id = v.subject_id
WHERE NOT v.keep;

-- The pairs that nothing speaks against, with where their answers stand.
CREATE OR REPLACE VIEW kept AS
SELECT a.id, s.title AS source, a.origin, a.score, a.question, a.answer, p.chapter,
       p.page_first, p.page_last, p.start_seconds, p.n_words, a.source_id, a.passage_id
FROM pairs a
JOIN passages p ON p.id = a.passage_id
JOIN sources s ON s.id = a.source_id
WHERE s.withdrawn_at IS NULL
  AND NOT EXISTS (
    SELECT 1 FROM verdicts v WHERE v.subject = 'pairs' AND v.subject_id = a.id AND NOT v.keep
);

-- From a turn of a conversation back to the page or the second, the prompt and the model.
CREATE OR REPLACE VIEW lineage AS
SELECT c.id AS conversation_id, c.dataset_id, c.split, t.turn, a.id AS pair_id, a.score,
       a.question, a.answer, q.origin, q.type, q.model, q.prompt_version,
       p.id AS passage_id, p.chapter, p.page_first, p.page_last, p.start_seconds, p.end_seconds,
       p.speaker, d.title AS document, s.title AS source, s.location, s.sha256, s.rights,
       s.id AS source_id, q.id AS question_id, d.id AS document_id
FROM conversations c
CROSS JOIN LATERAL (
    SELECT unnest(c.pair_ids) AS pair_id, generate_subscripts(c.pair_ids, 1) AS turn
) t
JOIN pairs a ON a.id = t.pair_id
JOIN questions q ON q.id = a.question_id
JOIN passages p ON p.id = a.passage_id
JOIN documents d ON d.id = p.document_id
JOIN sources s ON s.id = a.source_id;
