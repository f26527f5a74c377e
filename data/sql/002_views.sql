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

-- Per source and table: found = kept + dropped, and the drops by rule. A thing that several rules
-- speak against counts once, under the first.
CREATE OR REPLACE VIEW coverage AS
WITH found AS (
    SELECT id AS source_id, 'sources' AS subject, id FROM sources
    UNION
    SELECT source_id, 'documents', id FROM documents
    UNION
    SELECT d.source_id, 'blocks', b.id FROM blocks b JOIN documents d ON d.id = b.document_id
    UNION
    SELECT source_id, 'passages', id FROM passages
    UNION
    SELECT source_id, 'pairs', id FROM pairs
    UNION
    -- What could not even become a row: a bad line, an unreadable page.
    SELECT source_id, subject, subject_id FROM verdicts WHERE NOT keep AND subject IN ('documents', 'blocks')
), lost AS (
    SELECT subject, subject_id, arg_min(rule, (created_at, rule)) AS rule
    FROM verdicts WHERE NOT keep GROUP BY subject, subject_id
), counted AS (
    SELECT f.source_id, f.subject, l.rule, count(*) AS n
    FROM found f LEFT JOIN lost l ON l.subject = f.subject AND l.subject_id = f.id
    GROUP BY f.source_id, f.subject, l.rule
)
SELECT s.id AS source_id, s.title AS source, c.subject,
       sum(n)::BIGINT AS found,
       coalesce(sum(n) FILTER (rule IS NULL), 0)::BIGINT AS kept,
       coalesce(sum(n) FILTER (rule IS NOT NULL), 0)::BIGINT AS dropped,
       string_agg(rule || ' ' || n, ', ' ORDER BY n DESC, rule) FILTER (rule IS NOT NULL) AS by_rule
FROM counted c JOIN sources s ON s.id = c.source_id
GROUP BY s.id, s.title, c.subject
ORDER BY s.title, list_position(['sources', 'documents', 'blocks', 'passages', 'pairs'], c.subject);
