-- What a model in training answered at each save, greedily and in short; step 0 is the base.
CREATE TABLE samples (
    run_id VARCHAR NOT NULL, step INTEGER NOT NULL, prompt VARCHAR NOT NULL,
    kind VARCHAR NOT NULL, answer VARCHAR NOT NULL, seconds DOUBLE NOT NULL
);
