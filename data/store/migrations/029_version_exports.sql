-- What an export shows of a dataset version beside its messages, kept as it was when the version was made:
-- where each turn comes from, with its score and flags, and as JSON the facts of the card. The rights of
-- a source are not kept: those of today hold.
CREATE TABLE version_turns (
    dataset_id VARCHAR NOT NULL, conversation_id VARCHAR NOT NULL, turn INTEGER NOT NULL,
    pair_id VARCHAR NOT NULL, source VARCHAR, author VARCHAR, document VARCHAR, chapter VARCHAR,
    page_first INTEGER, page_last INTEGER, start_seconds DOUBLE, end_seconds DOUBLE, speaker VARCHAR,
    question_origin VARCHAR, question_type VARCHAR, question_model VARCHAR, prompt_version VARCHAR,
    score DOUBLE, flags VARCHAR[] NOT NULL, passage_id VARCHAR NOT NULL, question_id VARCHAR NOT NULL,
    document_id VARCHAR NOT NULL, source_id VARCHAR NOT NULL, source_sha256 VARCHAR NOT NULL
);
CREATE TABLE version_cards (dataset_id VARCHAR NOT NULL, facts VARCHAR NOT NULL);
