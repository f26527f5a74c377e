-- What earlier versions told of a page stood under its document.
UPDATE verdicts v
SET subject = 'pages',
    subject_id = d.id || '-' || regexp_extract(v.reason, '^page (\d+)', 1)
FROM documents d
WHERE d.source_id = v.source_id AND v.subject = 'documents' AND v.step = 'extract'
  AND regexp_matches(v.reason, '^page \d+[ :]');
