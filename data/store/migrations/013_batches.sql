-- The files of requests that are with a provider, or were. A reply that comes back is a row of
-- `requests`; a batch stays here, so that what it has answered is fetched again and never paid
-- for twice.
CREATE TABLE batches (
    key VARCHAR NOT NULL, id VARCHAR, base_url VARCHAR NOT NULL, status VARCHAR NOT NULL,
    custom_ids VARCHAR[] NOT NULL, created_at TIMESTAMPTZ NOT NULL
);
