-- `items`(id, question, answer): the texts of a part; one without an answer is not compared in it. Those
-- that are new are signed. $unit parts what grams are made of: a space for words, nothing for characters. Texts of
-- fewer than $least grams are compared with the same words alone.
DELETE FROM duplicate_texts WHERE part = $part AND id NOT IN (SELECT id FROM items);

CREATE OR REPLACE TEMP TABLE fresh AS
SELECT id FROM items WHERE id NOT IN (SELECT id FROM duplicate_texts WHERE part = $part);

-- The hash of each 5-gram, then the least of nine in a row: any ten that two texts share give both the
-- same fingerprint (winnowing, Schleimer et al. 2003). A text of few grams keeps all of them.
CREATE OR REPLACE TEMP TABLE signed AS
SELECT id, words, CASE WHEN len(grams) >= $least THEN minima_of(grams) ELSE [] END AS bands
FROM (
    SELECT id, words, grams_of(units) AS grams
    FROM (
        SELECT id, CASE WHEN norm IS NOT NULL THEN hash(norm) END AS words, list_transform(string_split(norm, $unit), lambda u: hash(u)) AS units
        FROM (
            SELECT id, exchange_words(question, answer) AS norm FROM (
                -- Grouped for the same reason as in duplicates_compare.sql.
                SELECT id, any_value(question) AS question, any_value(answer) AS answer FROM items
                WHERE id IN (SELECT id FROM fresh) GROUP BY id
            )
        )
    )
);

INSERT INTO duplicate_texts SELECT $part, id, words FROM signed;

CREATE OR REPLACE TEMP TABLE new_bands AS
SELECT words, any_value(bands) AS bands FROM signed
WHERE words IS NOT NULL AND words NOT IN (SELECT words FROM duplicate_bands WHERE part = $part)
GROUP BY words;
DROP TABLE signed;

INSERT INTO duplicate_bands SELECT $part, words, bands FROM new_bands;

-- What no text has any more.
DELETE FROM duplicate_bands WHERE part = $part
   AND words NOT IN (SELECT words FROM duplicate_texts WHERE part = $part AND words IS NOT NULL);
DELETE FROM duplicate_links WHERE part = $part
   AND (words NOT IN (SELECT words FROM duplicate_bands WHERE part = $part)
        OR other_words NOT IN (SELECT words FROM duplicate_bands WHERE part = $part));
