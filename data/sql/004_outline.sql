-- Every source's chapters in reading order: pages, words, passages kept and dropped, and what was
-- decided about whose voice they are in. A dataset is one row. Words are counted as the passages'
-- are: each Han, kana or Hangul character is one.
CREATE OR REPLACE VIEW outline AS
WITH cut AS (
    -- A section begins where the chapter changes.
    -- A running head or a page's number belongs to the section that it stands in.
    SELECT b.* EXCLUDE (before),
           sum(CASE WHEN own IS NULL OR before IS NOT DISTINCT FROM own THEN 0 ELSE 1 END)
               OVER (PARTITION BY document_id ORDER BY ord) AS section
    FROM (
        SELECT *, lag(own IGNORE NULLS) OVER (PARTITION BY document_id ORDER BY ord) AS before
        FROM (
            SELECT b.*, d.source_id, d.title AS document,
                   CASE WHEN b.kind IN ('heading', 'paragraph', 'quote', 'turn')
                        THEN coalesce(b.chapter, '')
                        WHEN b.kind IN ('boilerplate', 'contents') THEN b.chapter END AS own
            FROM blocks b
            JOIN documents d ON d.id = b.document_id
            JOIN sources s ON s.id = d.source_id
            WHERE s.kind <> 'dataset' AND s.withdrawn_at IS NULL
        )
    ) b
), judged AS (
    SELECT v.subject_id, v.keep, v.rule, v.reason
    FROM verdicts v
    WHERE v.subject = 'blocks'
      AND v.rule IN ('other_voice', 'apparatus', 'voice_unsure', 'voice_comment', 'included_chapter',
                     'excluded_chapter')
), of_chapter AS (
    SELECT c.document_id, c.section, any_value(c.source_id) AS source_id,
           any_value(c.document) AS document, nullif(any_value(c.own), '') AS chapter,
           min(c.ord) AS ord, min(c.page) AS page_first,
           max(coalesce(c.page_last, c.page)) AS page_last,
           count(*) FILTER (c.kind IN ('paragraph', 'quote', 'turn')) AS texts,
           coalesce(sum(len(regexp_extract_all(c.text,
               '[\x{3040}-\x{30ff}\x{3400}-\x{4dbf}\x{4e00}-\x{9fff}\x{f900}-\x{faff}\x{ac00}-\x{d7af}]|[^\s\x{3040}-\x{30ff}\x{3400}-\x{4dbf}\x{4e00}-\x{9fff}\x{f900}-\x{faff}\x{ac00}-\x{d7af}]*[\pL\pN][^\s—–\x{3040}-\x{30ff}\x{3400}-\x{4dbf}\x{4e00}-\x{9fff}\x{f900}-\x{faff}\x{ac00}-\x{d7af}]*')))
               FILTER (c.kind IN ('paragraph', 'quote', 'turn')), 0)::BIGINT AS words,
           count(DISTINCT c.id) FILTER (j.rule IN ('other_voice', 'apparatus', 'excluded_chapter')) AS aside,
           -- One reason is told: the one that took the most blocks, a drop before a flag.
           mode(j.rule) FILTER (NOT j.keep) AS drop_rule,
           mode(j.reason) FILTER (NOT j.keep) AS drop_reason,
           count(DISTINCT j.reason) FILTER (NOT j.keep) AS drop_reasons,
           min(j.rule) FILTER (j.keep AND j.rule <> 'voice_comment') AS flag,
           min(j.reason) FILTER (j.keep AND j.rule <> 'voice_comment') AS flag_reason,
           count(*) FILTER (j.rule = 'voice_comment') AS comments
    FROM cut c LEFT JOIN judged j ON j.subject_id = c.id
    GROUP BY c.document_id, c.section
), found AS (
    SELECT c.document_id, c.section, count(DISTINCT p.id) AS passages,
           count(DISTINCT p.id) FILTER (EXISTS (
               SELECT 1 FROM verdicts v
               WHERE v.subject = 'passages' AND v.subject_id = p.id AND NOT v.keep
           )) AS dropped
    FROM (SELECT id, document_id, unnest(block_ids) AS block_id FROM passages) p
    JOIN cut c ON c.id = p.block_id
    GROUP BY c.document_id, c.section
)
SELECT s.title AS source, o.document, coalesce(o.chapter, '(untitled)') AS chapter,
       CASE WHEN o.page_first = o.page_last THEN o.page_first::VARCHAR
            ELSE o.page_first || '-' || o.page_last END AS pages,
       o.words, coalesce(f.passages, 0) - coalesce(f.dropped, 0) AS kept,
       coalesce(f.dropped, 0) AS dropped,
       CASE WHEN flag = 'included_chapter' THEN 'kept by your recipe'
            WHEN drop_rule = 'excluded_chapter' THEN 'dropped by your recipe'
            WHEN texts = 0 THEN 'no prose'
            WHEN aside > 0 AND aside >= texts THEN 'dropped: ' || drop_rule
            WHEN aside > 0 THEN 'kept, but for ' || aside || ' of ' || texts || ' blocks'
            WHEN flag = 'voice_unsure' THEN 'kept, in doubt'
            WHEN coalesce(f.passages, 0) = 0 THEN 'no passage: `look dropped` tells why'
            ELSE 'kept' END AS decision,
       concat_ws('; ',
           CASE WHEN flag = 'included_chapter' THEN NULL ELSE drop_reason END,
           CASE WHEN drop_reasons > 1 AND aside > 0 THEN (drop_reasons - 1) || ' more' END,
           CASE WHEN flag = 'voice_unsure' THEN flag_reason END,
           CASE WHEN comments > 0 THEN comments || ' comments of another cut out' END) AS reason,
       s.id AS source_id, o.document_id, o.ord
FROM of_chapter o
JOIN sources s ON s.id = o.source_id
LEFT JOIN found f ON f.document_id = o.document_id AND f.section = o.section
UNION ALL BY NAME
SELECT s.title AS source, (SELECT count(*) FROM documents d WHERE d.source_id = s.id)
           || ' conversations' AS document, NULL AS chapter,
       sum(p.n_words)::BIGINT AS words,
       count(*) FILTER (NOT lost) AS kept, count(*) FILTER (lost) AS dropped,
       'kept' AS decision, '' AS reason, s.id AS source_id, 0 AS ord
FROM sources s
JOIN (
    SELECT source_id, n_words, EXISTS (
        SELECT 1 FROM verdicts v
        WHERE v.subject = 'passages' AND v.subject_id = p.id AND NOT v.keep
    ) AS lost FROM passages p
) p ON p.source_id = s.id
WHERE s.kind = 'dataset' AND s.withdrawn_at IS NULL
GROUP BY s.id, s.title;
