-- Everything that a gate, a rule or the score reads, so that a threshold can be moved without
-- measuring again. `thresholds` are those in force, by recipe key and language of the persona.
CREATE TABLE thresholds (name VARCHAR NOT NULL, lang VARCHAR NOT NULL, value DOUBLE NOT NULL);
-- Function words by language; `stop` marks the most frequent ones.
CREATE TABLE word_lists (lang VARCHAR NOT NULL, word VARCHAR NOT NULL, stop BOOLEAN NOT NULL);
-- What SQL cannot measure of a passage: compression, sentences, speech in the book's style of
-- quotation marks, and the language.
CREATE TABLE passage_measures (
    passage_id VARCHAR NOT NULL, lang VARCHAR NOT NULL, zlib_ratio DOUBLE NOT NULL, n_sentences INTEGER NOT NULL,
    quoted_share DOUBLE NOT NULL, detected_lang VARCHAR NOT NULL, quote_style VARCHAR
);
-- One row for each passage. Ratios are NULL where there is nothing to divide by, and what SQL cannot
-- measure is NULL for the rows of datasets, which no gate drops by it.
CREATE TABLE passage_signals (
    passage_id VARCHAR NOT NULL, lang VARCHAR NOT NULL, n_words INTEGER NOT NULL,
    stop_share DOUBLE, zlib_ratio DOUBLE, letter_share DOUBLE, digit_share DOUBLE,
    upper_share DOUBLE, sentence_words DOUBLE, type_token DOUBLE, quoted_share DOUBLE,
    repeated_share DOUBLE, detected_lang VARCHAR, quote_style VARCHAR, has_control BOOLEAN NOT NULL,
    is_blank BOOLEAN NOT NULL
);
-- One row for each pair. `bm25` is how much of the question the answer takes up, in units of a word
-- that stands in one answer alone; `match` is the same, centred by the pairs of the `scope` that
-- `sample` is the hash of. Both are NULL where the workspace has fewer than eight pairs.
CREATE TABLE pair_signals (
    pair_id VARCHAR NOT NULL, lang VARCHAR NOT NULL, scope VARCHAR NOT NULL, sample VARCHAR,
    question_words INTEGER NOT NULL, question_marks INTEGER NOT NULL,
    question_cjk BOOLEAN NOT NULL, stop_lang VARCHAR, stop_lang_share DOUBLE, own_stop_share DOUBLE,
    shared_run INTEGER NOT NULL, leak DOUBLE NOT NULL, question_stems INTEGER NOT NULL,
    answer_stems INTEGER NOT NULL, shared_stems INTEGER NOT NULL, pointers INTEGER NOT NULL,
    answer_words INTEGER NOT NULL, answer_ends BOOLEAN NOT NULL, has_control BOOLEAN NOT NULL,
    has_code BOOLEAN NOT NULL, names_style BOOLEAN NOT NULL, names_text BOOLEAN NOT NULL,
    points_nowhere BOOLEAN NOT NULL, asks BOOLEAN NOT NULL, bm25 DOUBLE, match DOUBLE,
    cosine DOUBLE
);
-- The vectors of texts by the optional model of sentences, under the hash of the text.
CREATE TABLE embeddings (key VARCHAR NOT NULL, vector FLOAT[] NOT NULL);
-- The parts of the score in [0, 1], their weighted sum `quality`, and `score` by origin.
CREATE TABLE pair_scores (
    pair_id VARCHAR NOT NULL, relevance DOUBLE NOT NULL, no_leak DOUBLE NOT NULL,
    form DOUBLE NOT NULL, standalone DOUBLE NOT NULL, answer DOUBLE NOT NULL,
    specificity DOUBLE NOT NULL, quality DOUBLE NOT NULL, score DOUBLE NOT NULL
);
-- Scores stand in pair_scores alone, one formula for all origins.
ALTER TABLE exchanges DROP COLUMN score;
UPDATE made_pairs SET score = NULL;
