-- After the new rows of a source are in: what is held and no longer among them.
DELETE FROM held WHERE id IN (SELECT id FROM exchanges WHERE source_id = $source);

INSERT INTO cut_passages BY NAME
SELECT id, source_id, document_id, source_row::INTEGER AS ord,
       coalesce(thread_id, id) AS group_id, answer AS text, words_of(answer) AS n_words, 'assistant' AS speaker,
       coalesce(thread_id, id) AS thread_id, system, source_row
FROM held WHERE id NOT IN (SELECT id FROM cut_passages);

INSERT INTO asked_questions BY NAME
SELECT id, id AS passage_id, coalesce(question, '') AS text, 'real' AS type, 'given' AS origin
FROM held WHERE id NOT IN (SELECT id FROM asked_questions);

INSERT INTO made_pairs BY NAME
SELECT id, source_id, id AS passage_id, id AS question_id, coalesce(thread_id, id) AS group_id,
       coalesce(thread_id, id) AS thread_id, ord, system, coalesce(question, '') AS question,
       answer, 'given' AS origin, tool_turns
FROM held WHERE id NOT IN (SELECT id FROM made_pairs);

-- What has come back stands once.
DELETE FROM cut_passages WHERE source_id = $source AND source_row IS NOT NULL
   AND id IN (SELECT id FROM exchanges WHERE source_id = $source);
DELETE FROM asked_questions WHERE origin = 'given'
   AND id IN (SELECT id FROM exchanges WHERE source_id = $source);
DELETE FROM made_pairs WHERE source_id = $source AND origin = 'given'
   AND id IN (SELECT id FROM exchanges WHERE source_id = $source);
