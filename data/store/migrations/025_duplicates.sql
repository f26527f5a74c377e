-- Every passage and pair with near duplicates: the best of its `cluster` has no `other_id`, every
-- other one is dropped for `other_id`.
CREATE TABLE duplicates (
    subject VARCHAR NOT NULL, subject_id VARCHAR NOT NULL, other_id VARCHAR, part VARCHAR NOT NULL,
    measure VARCHAR, similarity DOUBLE, cluster VARCHAR NOT NULL
);
