-- A pair that may go on from the pair of the passage before: then it is asked by this question.
CREATE TABLE follow_ups (
    pair_id VARCHAR NOT NULL, before_id VARCHAR NOT NULL, question VARCHAR NOT NULL,
    request_id VARCHAR NOT NULL
);
