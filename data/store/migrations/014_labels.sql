-- What a person said of a pair in `memoirist calibrate`: the measure of the score and the judge.
CREATE TABLE labels (
    pair_id VARCHAR NOT NULL, good BOOLEAN NOT NULL, question VARCHAR NOT NULL,
    answer VARCHAR NOT NULL, labelled_at TIMESTAMPTZ NOT NULL
);
