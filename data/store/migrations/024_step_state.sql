-- A training has its state in `done` like every other step; the id of a run is a hash of its inputs.
INSERT INTO done
SELECT id, 'train', id FROM runs WHERE status IN ('trained', 'merged', 'evaluated');
-- What each model said in the evaluation, as JSON by side, so that a judge can come later.
CREATE TABLE predictions (run_id VARCHAR NOT NULL, model VARCHAR NOT NULL, content VARCHAR NOT NULL);
