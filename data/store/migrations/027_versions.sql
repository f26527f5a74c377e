-- The recipe that a dataset version was composed under, as JSON, without what comes after it.
ALTER TABLE datasets ADD COLUMN recipe VARCHAR;
-- What every version left out, and why at that time: pairs, and passages without a pair.
CREATE TABLE version_verdicts (
    dataset_id VARCHAR NOT NULL, subject VARCHAR NOT NULL, subject_id VARCHAR NOT NULL,
    rule VARCHAR NOT NULL, reason VARCHAR NOT NULL
);
