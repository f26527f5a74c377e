-- The ledger: whether a living person speaks in a source, their consent, and who told the rights.
ALTER TABLE sources ADD COLUMN living BOOLEAN;
ALTER TABLE sources ADD COLUMN consent VARCHAR;
ALTER TABLE sources ADD COLUMN rights_basis VARCHAR;

-- Coverage with what was kept and marked: masked personal data, defused control tokens.
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
    SELECT source_id, subject, subject_id FROM verdicts
    WHERE NOT keep AND subject IN ('documents', 'blocks') AND rule <> 'withdrawn'
), lost AS (
    SELECT subject, subject_id, arg_min(rule, (created_at, rule)) AS rule
    FROM verdicts WHERE NOT keep GROUP BY subject, subject_id
), counted AS (
    SELECT f.source_id, f.subject, l.rule, count(*) AS n
    FROM found f LEFT JOIN lost l ON l.subject = f.subject AND l.subject_id = f.id
    GROUP BY f.source_id, f.subject, l.rule
), marked AS (
    SELECT source_id, subject, string_agg(rule || ' ' || n, ', ' ORDER BY n DESC, rule) AS flags
    FROM (
        SELECT source_id, subject, rule, count(*) AS n FROM verdicts WHERE keep
        GROUP BY source_id, subject, rule
    ) GROUP BY source_id, subject
)
SELECT s.id AS source_id, s.title AS source, c.subject,
       sum(n)::BIGINT AS found,
       coalesce(sum(n) FILTER (rule IS NULL), 0)::BIGINT AS kept,
       coalesce(sum(n) FILTER (rule IS NOT NULL), 0)::BIGINT AS dropped,
       string_agg(rule || ' ' || n, ', ' ORDER BY n DESC, rule) FILTER (rule IS NOT NULL) AS by_rule,
       any_value(m.flags) AS flags
FROM counted c JOIN sources s ON s.id = c.source_id
LEFT JOIN marked m ON m.source_id = c.source_id AND m.subject = c.subject
GROUP BY s.id, s.title, c.subject
ORDER BY s.title, list_position(['sources', 'documents', 'blocks', 'passages', 'pairs'], c.subject);
