-- Of the exchanges to compare only those whose questions or whose answers have the same words.
CREATE OR REPLACE TEMP TABLE sides AS
SELECT words, hash(plain_words(any_value(question))) AS question, hash(plain_words(any_value(answer))) AS answer
FROM items JOIN duplicate_texts t USING (id)
WHERE t.part = $part
  AND words IN (SELECT words FROM compared UNION SELECT other_words FROM compared)
GROUP BY words;

CREATE OR REPLACE TEMP TABLE compared AS
SELECT c.words, c.other_words FROM compared c
JOIN sides a ON a.words = c.words JOIN sides b ON b.words = c.other_words
WHERE a.question = b.question OR a.answer = b.answer;
DROP TABLE sides;
