-- The rows of datasets are question and answer already. They stand once, in `exchanges`, and what
-- is cut from books and talks, asked and paired stands in tables of its own; the views of the
-- contract show both.
CREATE TABLE exchanges (
    id VARCHAR NOT NULL, source_id VARCHAR NOT NULL, document_id VARCHAR NOT NULL,
    source_row BIGINT NOT NULL, ord INTEGER NOT NULL, thread_id VARCHAR, system VARCHAR,
    -- Compressing is most of the work of writing: zstd makes the file a third as large and takes
    -- twice as long, DuckDB's own choice half as large and three times as long.
    question VARCHAR USING COMPRESSION uncompressed, answer VARCHAR USING COMPRESSION uncompressed,
    score DOUBLE, head UBIGINT, fault VARCHAR, reason VARCHAR, notes VARCHAR
);

ALTER TABLE sources ADD COLUMN mix_share DOUBLE;

ALTER TABLE passages RENAME TO cut_passages;
ALTER TABLE questions RENAME TO asked_questions;
ALTER TABLE pairs RENAME TO made_pairs;
ALTER TABLE cut_passages ADD COLUMN source_row BIGINT;
