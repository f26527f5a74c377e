-- The figures of `memoirist evaluate`: one row for each run, side and metric, with the ends of the
-- 95 % interval where there is one and the number of things measured. Sides are base, few_shot,
-- previous, tuned and human (the held-out text itself).
CREATE TABLE evaluations (
    run_id VARCHAR NOT NULL, model VARCHAR NOT NULL, metric VARCHAR NOT NULL,
    value DOUBLE NOT NULL, low DOUBLE, high DOUBLE, n INTEGER NOT NULL
);
-- What each side answered; `kind` is held_out, disclose, outside or false_premise.
CREATE TABLE answers (
    run_id VARCHAR NOT NULL, model VARCHAR NOT NULL, kind VARCHAR NOT NULL,
    question VARCHAR NOT NULL, answer VARCHAR NOT NULL, finished BOOLEAN
);
-- What judges, or people by a sheet, said of two answers: 1, 2 or 0 for the better one.
CREATE TABLE duels (
    id VARCHAR NOT NULL, run_id VARCHAR NOT NULL, judge VARCHAR NOT NULL,
    first VARCHAR NOT NULL, second VARCHAR NOT NULL, question VARCHAR NOT NULL,
    better INTEGER NOT NULL
);
