-- (The view `coverage`, which this file is named after, is made anew in 012_requests.sql.)
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
