-- The texts of `compared` (id, rank, question, answer; of two alike the one of the higher rank is
-- dropped): answers as hashes of their words and questions as hashes of their letters, with their
-- 5-grams, and how many of these another text `need`s to share: three at least, or all of a shorter
-- text. Questions of fewer than five words ("Why was that?") are common to all episodes and leak
-- nothing.
CREATE OR REPLACE TEMP TABLE texts AS
SELECT *, len(grams) AS n,
       greatest(least(len(grams), 3),
                ceil(len(grams) * CASE part WHEN 'answer' THEN $max_containment
                                       ELSE $max_question_overlap END))::INTEGER AS need
FROM (
    SELECT key, rank, part, units, list_distinct(grams_of(units)) AS grams
    FROM (
        SELECT rowid AS key, rank::INTEGER AS rank, 'answer' AS part,
               list_transform(string_split(plain_words(answer), ' '), lambda w: hash(w)) AS units
        FROM compared
        UNION ALL
        SELECT rowid, rank::INTEGER, 'question',
               list_transform(string_split(plain_words(question), ''), lambda c: hash(c))
        FROM compared WHERE $max_question_overlap <= 1 AND words_of(question) >= 5
    ) WHERE len(units) >= 5
);

CREATE OR REPLACE TEMP TABLE purged (
    key BIGINT, other BIGINT, measure VARCHAR, similarity DOUBLE
);
