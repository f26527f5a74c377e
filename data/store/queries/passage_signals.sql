-- The signals of every passage that is new or was measured otherwise; passage_measures has what SQL
-- cannot measure. The rows of a dataset are measured once `curate` has taken it in.
CREATE OR REPLACE TEMP TABLE unmeasured AS
SELECT p.id AS passage_id, m.* EXCLUDE (passage_id, lang)
FROM (
    SELECT id FROM cut_passages
    UNION ALL
    SELECT id FROM exchanges
    WHERE fault IS NULL AND source_id IN (SELECT subject_id FROM done WHERE step = 'pair')
) p
LEFT JOIN passage_measures m ON m.passage_id = p.id
ANTI JOIN passage_signals s ON s.passage_id = p.id AND s.lang = rules_lang()
     AND s.zlib_ratio IS NOT DISTINCT FROM m.zlib_ratio AND s.quote_style IS NOT DISTINCT FROM m.quote_style;

DELETE FROM passage_signals WHERE passage_id IN (SELECT passage_id FROM unmeasured)
    OR passage_id NOT IN (SELECT id FROM cut_passages UNION ALL SELECT id FROM exchanges);

INSERT INTO passage_signals BY NAME
SELECT passage_id, rules_lang() AS lang, len(tokens) AS n_words,
       CASE WHEN len(stops) > 0 AND len(tokens) > 0
            THEN len(list_filter(tokens, lambda w: list_contains(stops, w))) / len(tokens) END AS stop_share,
       zlib_ratio,
       CASE WHEN length(text) > 0 THEN letter_count(text) / length(text) ELSE 0 END AS letter_share,
       CASE WHEN length(text) > 0 THEN digit_count(text) / length(text) ELSE 0 END AS digit_share,
       CASE WHEN letter_count(text) > 0 THEN capital_count(text) / letter_count(text) ELSE 0 END AS upper_share,
       len(tokens) / greatest(1, n_sentences) AS sentence_words,
       CASE WHEN len(tokens) > 0 THEN list_unique(tokens) / len(tokens) ELSE 0 END AS type_token,
       quoted_share,
       CASE WHEN n_sentences IS NULL THEN NULL WHEN len(tokens) = 0 THEN 0
            ELSE repeated_words(tokens) / len(tokens) END AS repeated_share,
       detected_lang, quote_style, has_control(text) AS has_control, is_blank(text) AS is_blank
FROM (
    SELECT u.*, p.text, tokens_of(p.text) AS tokens, stops
    FROM unmeasured u
    JOIN (SELECT id, text FROM cut_passages
          UNION ALL SELECT id, answer FROM exchanges WHERE fault IS NULL) p ON p.id = u.passage_id,
    (SELECT coalesce(list(word), []) AS stops FROM word_lists WHERE lang = rules_lang() AND stop)
);
