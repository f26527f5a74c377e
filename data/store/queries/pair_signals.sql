-- The signals of the stale pairs (pair_scopes.sql). The variables first_pair and last_pair take a part
-- of them; without, all are measured.
CREATE OR REPLACE TEMP TABLE measured AS
SELECT pair_id, scope, sample, rules_lang() AS lang, question, answer FROM stale
WHERE n >= coalesce(getvariable('first_pair')::BIGINT, 1)
  AND n <= coalesce(getvariable('last_pair')::BIGINT, 9223372036854775807);

CREATE OR REPLACE TEMP TABLE measured_terms AS FROM pair_terms('measured');

DELETE FROM pair_signals WHERE pair_id IN (SELECT pair_id FROM measured);
INSERT INTO pair_signals BY NAME
WITH stems AS (
    SELECT pair_id, count(*) FILTER (side = 'q' AND content) AS question_stems,
           count(*) FILTER (side = 'a' AND content) AS answer_stems,
           coalesce(sum(n) FILTER (side = 'a'), 0) AS size
    FROM measured_terms GROUP BY pair_id
), shared AS (
    SELECT q.pair_id, count(*) FILTER (q.content AND a.content) AS shared_stems,
           sum(q.weight * coalesce(t.idf, stem_idf(c.n, 0)) * bm25_weight(a.weight, s.size / c.mean_length)) AS bm25
    FROM measured_terms q JOIN measured_terms a ON a.pair_id = q.pair_id AND a.stem = q.stem AND a.side = 'a'
    JOIN stems s ON s.pair_id = q.pair_id JOIN measured m ON m.pair_id = q.pair_id
    LEFT JOIN scopes c ON c.scope = m.scope
    LEFT JOIN scope_stems t ON t.scope = m.scope AND t.stem = q.stem
    WHERE q.side = 'q' GROUP BY q.pair_id
), means AS (
    SELECT e.pair_id, sum(CASE side WHEN 'q' THEN e.weight * t.mean_answer
                          ELSE t.mean_question * t.idf * bm25_weight(e.weight, s.size / c.mean_length) END) AS expected
    FROM measured_terms e JOIN measured m USING (pair_id) JOIN stems s USING (pair_id)
    JOIN scopes c ON c.scope = m.scope JOIN scope_stems t ON t.scope = m.scope AND t.stem = e.stem
    GROUP BY e.pair_id
), asked AS (
    SELECT *, tokens_of(question) AS tokens, tokens_of(answer) AS answer_tokens FROM measured
), languages AS (
    SELECT pair_id, arg_max(lang, (share, place)) AS stop_lang, max(share) AS stop_lang_share,
           any_value(share) FILTER (lang = rules_lang()) AS own_stop_share
    FROM (
        SELECT a.pair_id, l.lang, -list_position(['en', 'de', 'fr', 'es', 'it', 'nl', 'pt'], l.lang) AS place,
               count(*) / any_value(a.size) AS share
        FROM (SELECT pair_id, len(tokens) AS size, unnest(tokens) AS word FROM asked WHERE len(tokens) >= 12) a
        JOIN word_lists l ON l.word = a.word AND l.stop AND l.lang IN ('en', 'de', 'fr', 'es', 'it', 'nl', 'pt')
        GROUP BY a.pair_id, l.lang
    ) GROUP BY pair_id
)
SELECT a.pair_id, a.lang, a.scope, a.sample, len(a.tokens) AS question_words,
       length(a.question) - length(regexp_replace(a.question, '[?？]', '', 'g')) AS question_marks,
       is_cjk(a.question) AS question_cjk, g.stop_lang, g.stop_lang_share, g.own_stop_share,
       longest_run(a.tokens, a.answer_tokens) AS shared_run,
       CASE WHEN s.answer_stems > 0 THEN coalesce(h.shared_stems, 0) / s.answer_stems ELSE 0 END AS leak,
       coalesce(s.question_stems, 0) AS question_stems, coalesce(s.answer_stems, 0) AS answer_stems,
       coalesce(h.shared_stems, 0) AS shared_stems,
       len(regexp_extract_all(lower(a.question), '\b(?:th(?:is|at|ese|ose|e[ym]|ere)|it|s?he|him|here?)\b'))
           AS pointers,
       len(a.answer_tokens) AS answer_words, ends_sentence(a.answer) OR is_unmarked(a.answer) AS answer_ends,
       has_control(a.question) AS has_control, has_code(a.question) AS has_code,
       names_style(a.question) AS names_style, names_text(a.question) AS names_text,
       points_nowhere(a.question) AS points_nowhere, asks(a.question) AS asks,
       CASE WHEN c.n IS NOT NULL THEN round(coalesce(h.bm25, 0) / stem_idf(c.n, 1), 4) END AS bm25,
       CASE WHEN c.n IS NOT NULL
            THEN round((coalesce(h.bm25, 0) - coalesce(e.expected, 0)) / stem_idf(c.n, 1), 4) END AS match
FROM asked a
LEFT JOIN stems s USING (pair_id) LEFT JOIN shared h USING (pair_id) LEFT JOIN means e USING (pair_id)
LEFT JOIN languages g USING (pair_id) LEFT JOIN scopes c ON c.scope = a.scope;
