-- One thing's way back to its source, a fact a row. $1 is the beginning of the id of a
-- conversation, pair, question, passage, block, document or source, followed by '%'.
WITH chosen AS (
    SELECT a.passage_id, a.id AS pair_id, a.question_id, a.ord FROM pairs a
    WHERE a.id LIKE $1 OR a.passage_id LIKE $1 OR a.question_id LIKE $1
       OR a.id IN (SELECT unnest(pair_ids) FROM conversations WHERE id LIKE $1)
    UNION
    SELECT p.id, NULL, NULL, p.ord FROM passages p
    WHERE (p.id LIKE $1 OR p.id IN (SELECT passage_id FROM questions q WHERE q.id LIKE $1))
      AND p.id NOT IN (SELECT passage_id FROM pairs)
), shown AS (
    SELECT c.*, row_number() OVER (ORDER BY c.ord, c.passage_id) AS n FROM chosen c
), facts AS (
    SELECT n, 1 AS k, 'conversation' AS what,
           string_agg(c.id || ' (' || c.split || ', dataset ' || c.dataset_id || ')', ', ') AS value
    FROM shown s JOIN conversations c ON list_contains(c.pair_ids, s.pair_id) GROUP BY n
    UNION ALL
    SELECT n, 2, 'pair', a.id || coalesce(', score ' || a.score, '')
    FROM shown s JOIN pairs a ON a.id = s.pair_id
    UNION ALL
    SELECT n, 3, 'question', coalesce(a.question, q.text)
    FROM shown s JOIN questions q ON q.id = s.question_id LEFT JOIN pairs a ON a.id = s.pair_id
    UNION ALL
    SELECT n, 3, 'own question', a.own_question
    FROM shown s JOIN pairs a ON a.id = s.pair_id WHERE a.own_question IS NOT NULL
    UNION ALL
    SELECT n, 4, 'asked by', q.origin || ', type ' || q.type || coalesce(', model ' || q.model, '')
           || coalesce(', prompt ' || q.prompt_version, '')
    FROM shown s JOIN questions q ON q.id = s.question_id
    UNION ALL
    SELECT n, 5, 'answer', coalesce(a.answer, p.text)
    FROM shown s JOIN passages p ON p.id = s.passage_id LEFT JOIN pairs a ON a.id = s.pair_id
    UNION ALL
    SELECT n, 5, 'verbatim', a.verbatim
    FROM shown s JOIN pairs a ON a.id = s.pair_id WHERE a.verbatim <> a.answer
    UNION ALL
    SELECT n, 6, 'passage', p.id || ', ' || p.n_words || ' words'
           || coalesce(', said by ' || p.speaker, '')
    FROM shown s JOIN passages p ON p.id = s.passage_id
    UNION ALL
    SELECT n, 7, 'location',
           concat_ws(', ', p.chapter,
               CASE WHEN p.page_first = p.page_last THEN 'page ' || p.page_first
                    WHEN p.page_first IS NOT NULL
                    THEN 'pages ' || p.page_first || '-' || p.page_last END,
               'printed ' || nullif(p.page_label, p.page_first::VARCHAR),
               'second ' || p.start_seconds::DECIMAL(9, 1) || '-' || p.end_seconds::DECIMAL(9, 1),
               d.title)
    FROM shown s JOIN passages p ON p.id = s.passage_id JOIN documents d ON d.id = p.document_id
    UNION ALL
    SELECT n, 8, 'source', concat_ws(', ', x.title, x.author, x.location, 'sha256 ' || x.sha256,
                                     'rights: ' || x.rights)
    FROM shown s JOIN passages p ON p.id = s.passage_id JOIN sources x ON x.id = p.source_id
    UNION ALL
    SELECT n, 9, 'verdict', v.rule || ': ' || v.reason
           || CASE WHEN v.keep THEN ' (kept)' ELSE ' (dropped)' END
    FROM shown s JOIN verdicts v
      ON v.subject_id IN (s.passage_id, s.pair_id, s.question_id)
    UNION ALL
    SELECT 1000, 10, 'block', b.kind || coalesce(', page ' || b.page, '') || ': ' || b.text
    FROM blocks b WHERE b.id LIKE $1
    UNION ALL
    SELECT 1000, 11, 'verdict', v.subject || ' ' || v.rule || ': ' || v.reason
           || CASE WHEN v.keep THEN ' (kept)' ELSE coalesce('; ' || v.next_step, '') END
    FROM verdicts v WHERE v.subject IN ('blocks', 'pages', 'sources', 'documents') AND v.subject_id LIKE $1
    UNION ALL
    SELECT 1000, 12, 'document', concat_ws(', ', d.title, d.lang, d.id)
    FROM documents d WHERE d.id LIKE $1
    UNION ALL
    SELECT 1000, 13, 'blocks', count(*) || ' ' || b.kind
           || coalesce(': dropped as ' || string_agg(DISTINCT v.rule, ', '), '')
    FROM blocks b
    LEFT JOIN verdicts v ON v.subject = 'blocks' AND v.subject_id = b.id AND NOT v.keep
    WHERE b.document_id LIKE $1 GROUP BY b.kind, b.document_id
    UNION ALL
    SELECT 1000, 14, 'source', concat_ws(', ', x.title, x.author, x.kind || ' as ' || x.format,
               x.location, 'sha256 ' || x.sha256, 'rights: ' || x.rights, x.id)
    FROM sources x
    WHERE x.id LIKE $1 OR x.id IN (SELECT source_id FROM documents WHERE id LIKE $1)
    UNION ALL
    SELECT 1000, 15, c.subject, c.found || ' found, ' || c.kept || ' kept, ' || c.dropped
           || ' dropped' || coalesce(': ' || c.by_rule, '')
    FROM coverage c WHERE c.source_id LIKE $1
)
SELECT what, value FROM facts WHERE n <= 8 OR n = 1000 ORDER BY n, k, value
