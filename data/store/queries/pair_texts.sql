-- The texts to embed of all made pairs, under the hash of the text: the last $words words of each question,
-- and each answer.
CREATE OR REPLACE TEMP TABLE pair_texts AS
SELECT pair_id, side, md5(text) AS key, text
FROM (
    SELECT id AS pair_id, unnest(['q', 'a']) AS side,
           unnest([array_to_string(string_split_regex(question, '\s+')[-$words:], ' '), answer]) AS text
    FROM made_pairs WHERE origin <> 'disclosure'
) WHERE text IS NOT NULL;
