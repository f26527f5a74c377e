-- The exact similarities of the pairs of texts in `compared`(words, other_words), by all their 5-grams;
-- without $every, of those that share half of the smaller one. With $short, what differs in a word may
-- differ in all that matters (same_exchange).
CREATE OR REPLACE TEMP TABLE sides AS
SELECT words, CASE WHEN $short THEN question END AS question, CASE WHEN $short THEN answer END AS answer,
       list_distinct(grams_of(list_transform(string_split(norm, $unit), lambda u: hash(u)))) AS grams
FROM (
    SELECT words, question, answer, exchange_words(question, answer) AS norm FROM (
        -- What is grouped is worked on by all threads, what is read by one in 122,880 rows.
        SELECT words, any_value(question) AS question, any_value(answer) AS answer
        FROM items JOIN duplicate_texts t USING (id)
        WHERE t.part = $part
          AND words IN (SELECT words FROM compared UNION SELECT other_words FROM compared)
        GROUP BY words
    )
);

INSERT INTO duplicate_links
SELECT $part, words, other_words, n, other_n, shared / (n + other_n - shared) AS jaccard,
       shared / least(n, other_n) AS containment
FROM (
    SELECT c.words, c.other_words, len(a.grams)::INTEGER AS n, len(b.grams)::INTEGER AS other_n,
           len(list_intersect(a.grams, b.grams)) AS shared,
           a.question, a.answer, b.question AS other_question, b.answer AS other_answer
    FROM (SELECT DISTINCT words, other_words FROM compared) c JOIN sides a ON a.words = c.words JOIN sides b ON b.words = c.other_words
) WHERE $every OR CASE WHEN shared < 0.5 * least(n, other_n) THEN false WHEN NOT $short THEN true
                       ELSE same_exchange(question, answer, other_question, other_answer) END;
DROP TABLE sides;
