-- What a probe has found out about a server and a model, so that a later run need not ask again.
-- `id` stands for the address, which may hold a password.
CREATE TABLE endpoints (
    id VARCHAR NOT NULL, model VARCHAR NOT NULL, structured VARCHAR NOT NULL,
    token_limit_name VARCHAR NOT NULL, takes_temperature BOOLEAN NOT NULL,
    probed_at TIMESTAMPTZ NOT NULL
);
