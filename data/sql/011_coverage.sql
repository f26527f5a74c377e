-- The pages of books that blocks stand on. A page that gave none is known by its verdict alone.
CREATE VIEW pages AS
SELECT DISTINCT b.document_id || '-' || page AS id, d.source_id, b.document_id, page
FROM (
    SELECT document_id, unnest(range(page, coalesce(page_last, page) + 1)) AS page
    FROM blocks WHERE page IS NOT NULL
) b JOIN documents d ON d.id = b.document_id;

-- What earlier versions told of a page stood under its document.
UPDATE verdicts v
SET subject = 'pages',
    subject_id = d.id || '-' || regexp_extract(v.reason, '^page (\d+)', 1)
FROM documents d
WHERE d.source_id = v.source_id AND v.subject = 'documents' AND v.step = 'extract'
  AND regexp_matches(v.reason, '^page \d+[ :]');

-- Per source and table: found = kept + dropped, and the drops by rule. A thing that several rules
-- speak against counts once, under the first; what could not even become a row (a bad line, an
-- unreadable page) counts by its verdict. `flags` is what was kept and marked.
CREATE OR REPLACE VIEW coverage AS
WITH found AS (
    SELECT id AS source_id, 'sources' AS subject, id FROM sources
    UNION
    SELECT source_id, 'documents', id FROM documents
    UNION
    SELECT source_id, 'pages', id FROM pages
    UNION
    SELECT d.source_id, 'blocks', b.id FROM blocks b JOIN documents d ON d.id = b.document_id
    UNION
    SELECT source_id, 'rows', coalesce(thread_id, id) FROM exchanges WHERE fault IS NULL
    UNION
    SELECT source_id, 'passages', id FROM passages
    UNION
    SELECT source_id, 'pairs', id FROM pairs
    UNION
    SELECT source_id, subject, subject_id FROM verdicts
    WHERE NOT keep AND subject IN ('documents', 'pages', 'blocks', 'rows') AND rule <> 'withdrawn'
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
ORDER BY s.title,
         list_position(['sources', 'documents', 'pages', 'rows', 'blocks', 'passages', 'pairs'],
                       c.subject);
