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
