-- When an episode was published, where its feed or its head says so.
ALTER TABLE documents ADD COLUMN published DATE;
-- What is cut out of turns before they are split: stock text of several episodes, and ads.
-- Characters count from 0; the last one is not part of the cut.
CREATE TABLE cuts (
    block_id VARCHAR NOT NULL, first_char INTEGER NOT NULL, last_char INTEGER NOT NULL,
    rule VARCHAR NOT NULL, n_documents INTEGER
);
