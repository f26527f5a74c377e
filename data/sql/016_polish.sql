-- What became of an answer that was polished: the text that is used in place of its passage's, and
-- the share of the words that changed. It is made anew from the replies in `requests`.
CREATE TABLE polished (
    passage_id VARCHAR NOT NULL, text VARCHAR NOT NULL, change DOUBLE NOT NULL,
    request_id VARCHAR NOT NULL
);

-- The passage word for word, where the answer is a polished one.
ALTER TABLE made_pairs ADD COLUMN verbatim VARCHAR;

-- The thread that a follow-up goes on in, and its place there: the first pair has 0.
ALTER TABLE follow_ups ADD COLUMN thread_id VARCHAR;
ALTER TABLE follow_ups ADD COLUMN ord INTEGER;
UPDATE follow_ups f SET thread_id = a.thread_id, ord = 1
FROM made_pairs a WHERE a.id = f.before_id;

-- Every pair by itself, as it was asked: what `compose` takes.
CREATE VIEW own_pairs AS
SELECT * REPLACE (coalesce(verbatim, answer) AS verbatim) FROM made_pairs
UNION ALL BY NAME
SELECT id, source_id, id AS passage_id, id AS question_id, coalesce(thread_id, id) AS group_id,
       coalesce(thread_id, id) AS thread_id, ord, system, coalesce(question, '') AS question,
       answer, 'given' AS origin, score, answer AS verbatim
FROM exchanges WHERE fault IS NULL;

-- The same with the follow-ups: such a pair stands in the thread that it goes on in, with the
-- question that leads to it; `own_question` is the one that it has where it stands alone. `answer`
-- is what is learnt, `verbatim` what was said or written: they differ where it was polished.
CREATE OR REPLACE VIEW pairs AS
SELECT a.* REPLACE (
           coalesce(f.thread_id, a.thread_id) AS thread_id, coalesce(f.ord, a.ord) AS ord,
           coalesce(f.question, a.question) AS question),
       CASE WHEN f.pair_id IS NOT NULL THEN a.question END AS own_question
FROM own_pairs a LEFT JOIN follow_ups f ON f.pair_id = a.id;

-- The pairs that nothing speaks against, with where their answers stand.
CREATE OR REPLACE VIEW kept AS
SELECT a.id, s.title AS source, a.origin, a.score, a.question, a.answer, p.chapter,
       p.page_first, p.page_last, p.start_seconds, p.n_words, a.source_id, a.passage_id,
       a.thread_id, a.ord, a.verbatim
FROM pairs a
JOIN passages p ON p.id = a.passage_id
JOIN sources s ON s.id = a.source_id
WHERE s.withdrawn_at IS NULL
  AND NOT EXISTS (
    SELECT 1 FROM verdicts v WHERE v.subject = 'pairs' AND v.subject_id = a.id AND NOT v.keep
);
