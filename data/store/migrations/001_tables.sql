-- The tables that users open. Ids are content hashes; the store keeps them unique by its one
-- way of writing, so that bulk rows need no index in memory.

CREATE TABLE sources (
    id VARCHAR NOT NULL, kind VARCHAR NOT NULL, format VARCHAR NOT NULL, location VARCHAR NOT NULL,
    sha256 VARCHAR NOT NULL, title VARCHAR, author VARCHAR, rights VARCHAR,
    added_at TIMESTAMPTZ NOT NULL, withdrawn_at TIMESTAMPTZ
);
CREATE TABLE documents (
    id VARCHAR NOT NULL, source_id VARCHAR NOT NULL, title VARCHAR NOT NULL, lang VARCHAR
);
CREATE TABLE blocks (
    id VARCHAR NOT NULL, document_id VARCHAR NOT NULL, ord INTEGER NOT NULL, kind VARCHAR NOT NULL,
    text VARCHAR NOT NULL, page INTEGER, page_last INTEGER, chapter VARCHAR, speaker VARCHAR,
    start_seconds DOUBLE, end_seconds DOUBLE
);
CREATE TABLE passages (
    id VARCHAR NOT NULL, source_id VARCHAR NOT NULL, document_id VARCHAR NOT NULL,
    ord INTEGER NOT NULL, group_id VARCHAR NOT NULL, text VARCHAR NOT NULL, n_words INTEGER NOT NULL,
    block_ids VARCHAR[], page_first INTEGER, page_last INTEGER, start_seconds DOUBLE,
    end_seconds DOUBLE, speaker VARCHAR, chapter VARCHAR, context VARCHAR, thread_id VARCHAR,
    system VARCHAR
);
CREATE TABLE questions (
    id VARCHAR NOT NULL, passage_id VARCHAR NOT NULL, text VARCHAR NOT NULL, type VARCHAR NOT NULL,
    origin VARCHAR NOT NULL, model VARCHAR, prompt_version VARCHAR, tokens_in INTEGER,
    tokens_out INTEGER, cost_usd DOUBLE
);
CREATE TABLE pairs (
    id VARCHAR NOT NULL, source_id VARCHAR NOT NULL, passage_id VARCHAR NOT NULL,
    question_id VARCHAR NOT NULL, group_id VARCHAR NOT NULL, thread_id VARCHAR NOT NULL,
    ord INTEGER NOT NULL, system VARCHAR, question VARCHAR NOT NULL, answer VARCHAR NOT NULL,
    origin VARCHAR NOT NULL, score DOUBLE
);
CREATE TABLE verdicts (
    subject_id VARCHAR NOT NULL, subject VARCHAR NOT NULL, rule VARCHAR NOT NULL,
    keep BOOLEAN NOT NULL, score DOUBLE, reason VARCHAR NOT NULL, beaten_by VARCHAR,
    next_step VARCHAR, step VARCHAR, source_id VARCHAR, created_at TIMESTAMPTZ NOT NULL
);
CREATE TABLE conversations (
    id VARCHAR NOT NULL, dataset_id VARCHAR NOT NULL, split VARCHAR NOT NULL, pair_ids VARCHAR[],
    messages STRUCT("role" VARCHAR, "content" VARCHAR)[], n_tokens INTEGER NOT NULL
);
CREATE TABLE datasets (
    id VARCHAR NOT NULL, created_at TIMESTAMPTZ NOT NULL, n_train INTEGER NOT NULL,
    n_validation INTEGER NOT NULL, n_test INTEGER NOT NULL, parent_id VARCHAR
);
CREATE TABLE requests (
    id VARCHAR NOT NULL, purpose VARCHAR NOT NULL, subject_id VARCHAR, model VARCHAR NOT NULL,
    status VARCHAR NOT NULL, attempts INTEGER NOT NULL, tokens_in INTEGER, tokens_out INTEGER,
    cost_usd DOUBLE, seconds DOUBLE, error VARCHAR, reply VARCHAR
);
CREATE TABLE runs (
    id VARCHAR NOT NULL, dataset_id VARCHAR NOT NULL, base_model VARCHAR NOT NULL,
    recipe VARCHAR NOT NULL, seed INTEGER NOT NULL, status VARCHAR NOT NULL,
    started_at TIMESTAMPTZ NOT NULL, ended_at TIMESTAMPTZ, metrics VARCHAR
);
CREATE TABLE metrics (
    run_id VARCHAR NOT NULL, step INTEGER NOT NULL, name VARCHAR NOT NULL, value DOUBLE NOT NULL
);
CREATE TABLE models (
    run_id VARCHAR NOT NULL, adapter_path VARCHAR NOT NULL, merged_path VARCHAR,
    dtype VARCHAR NOT NULL, champion BOOLEAN NOT NULL
);
-- The split that a group was given once; later datasets keep it, whatever its pairs become.
CREATE TABLE splits (group_id VARCHAR NOT NULL, source_id VARCHAR NOT NULL, split VARCHAR NOT NULL);
-- The marks by which a build resumes: `step` has finished on the subject under these settings.
CREATE TABLE done (
    subject_id VARCHAR NOT NULL, step VARCHAR NOT NULL, fingerprint VARCHAR NOT NULL
);
