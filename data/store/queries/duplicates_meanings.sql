-- The cosines of the new texts of `items` with all others, by the vectors of the model of sentences; those
-- are kept that a threshold may decide about. They are links without a common gram.
CREATE OR REPLACE TEMP TABLE meant AS
SELECT t.words, any_value(e.vector) AS vector, bool_or(t.words IN (SELECT words FROM new_bands)) AS is_new
FROM items i JOIN duplicate_texts t ON t.part = $part AND t.id = i.id JOIN embeddings e ON e.key = md5(i.answer)
GROUP BY t.words;

INSERT INTO duplicate_links
SELECT $part, words, other_words, 0, 0, 0, cosine FROM (
    SELECT least(a.words, b.words) AS words, greatest(a.words, b.words) AS other_words,
           list_dot_product(a.vector, b.vector) AS cosine
    FROM meant a JOIN meant b ON a.words < b.words OR (a.words > b.words AND NOT b.is_new)
    WHERE a.is_new
) WHERE cosine >= 0.7;
DROP TABLE meant;
