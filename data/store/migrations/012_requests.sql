-- What was asked of an LLM, kept with what it cost. `key` stands for the passage's text, the persona,
-- the prompt and the model: whatever was answered under a key is never asked again, and `id` is the
-- key of an answered request. A request that failed is a row of its own for each run. `limits` are
-- the settings under which it failed: changed, it is asked again. `rule`, `error` and `next_step`
-- say why a reply gives no question. `estimated` marks tokens that the server did not count.
ALTER TABLE requests ADD COLUMN key VARCHAR;
ALTER TABLE requests ADD COLUMN passage_hash VARCHAR;
ALTER TABLE requests ADD COLUMN prompt_version VARCHAR;
ALTER TABLE requests ADD COLUMN source_id VARCHAR;
ALTER TABLE requests ADD COLUMN run_id VARCHAR;
ALTER TABLE requests ADD COLUMN limits VARCHAR;
ALTER TABLE requests ADD COLUMN is_answer BOOLEAN;
ALTER TABLE requests ADD COLUMN confidence DOUBLE;
ALTER TABLE requests ADD COLUMN rule VARCHAR;
ALTER TABLE requests ADD COLUMN next_step VARCHAR;
ALTER TABLE requests ADD COLUMN estimated BOOLEAN;
ALTER TABLE requests ADD COLUMN judged VARCHAR;
ALTER TABLE requests ADD COLUMN created_at TIMESTAMPTZ;

-- Every question that came back, judged once when it arrived. `rule` and `reason` refuse it, or are
-- NULL; which of the others are asked, `data/store/queries/choose_*.sql` decide over all of them.
CREATE TABLE candidates (
    id VARCHAR NOT NULL, key VARCHAR NOT NULL, ord INTEGER NOT NULL, text VARCHAR NOT NULL,
    type VARCHAR NOT NULL, length_class INTEGER NOT NULL, opener VARCHAR NOT NULL,
    score DOUBLE NOT NULL, rule VARCHAR, reason VARCHAR
);

-- `nth` is 1 for a passage's best question and 2 for its second one.
ALTER TABLE asked_questions ADD COLUMN request_id VARCHAR;
ALTER TABLE asked_questions ADD COLUMN nth INTEGER;
UPDATE asked_questions SET nth = 1 WHERE origin = 'generated';
