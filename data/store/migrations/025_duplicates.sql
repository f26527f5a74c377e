-- Exchanges were compared by their first words.
ALTER TABLE exchanges DROP COLUMN head;
DROP MACRO IF EXISTS head_of;
DROP MACRO IF EXISTS first_words;
DROP MACRO IF EXISTS normal_words;

-- What near duplicates are found by. The id of each text that was compared, by its normalised words:
-- texts with the same words are one. `part` says what was compared: passages, answers, exchanges
-- (short answers with their questions) or questions; `words` is empty where a text is not compared so.
CREATE TABLE duplicate_texts (part VARCHAR NOT NULL, id VARCHAR NOT NULL, words UBIGINT);
-- The fingerprints of each text in its order: the least hash of every nine 5-grams in a row.
CREATE TABLE duplicate_bands (part VARCHAR NOT NULL, words UBIGINT NOT NULL, bands UINTEGER[]);
-- Two texts that share half of the smaller one, and how much: all that a threshold decides about.
CREATE TABLE duplicate_links (
    part VARCHAR NOT NULL, words UBIGINT NOT NULL, other_words UBIGINT NOT NULL,
    n_grams INTEGER NOT NULL, other_grams INTEGER NOT NULL, jaccard DOUBLE NOT NULL,
    containment DOUBLE NOT NULL
);
-- Every passage and pair with near duplicates: the best of its `cluster` has no `other_id`, every
-- other one is dropped for `other_id`.
CREATE TABLE duplicates (
    subject VARCHAR NOT NULL, subject_id VARCHAR NOT NULL, other_id VARCHAR, part VARCHAR NOT NULL,
    measure VARCHAR, similarity DOUBLE, cluster VARCHAR NOT NULL
);
