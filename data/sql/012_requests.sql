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
-- NULL; which of the others are asked, `data/sql/choose.sql` decides over all of them.
CREATE TABLE candidates (
    id VARCHAR NOT NULL, key VARCHAR NOT NULL, ord INTEGER NOT NULL, text VARCHAR NOT NULL,
    type VARCHAR NOT NULL, length_class INTEGER NOT NULL, opener VARCHAR NOT NULL,
    score DOUBLE NOT NULL, rule VARCHAR, reason VARCHAR
);

-- `nth` is 1 for a passage's best question and 2 for its second one.
ALTER TABLE asked_questions ADD COLUMN request_id VARCHAR;
ALTER TABLE asked_questions ADD COLUMN nth INTEGER;
UPDATE asked_questions SET nth = 1 WHERE origin = 'generated';
CREATE MACRO question_id(passage, t) AS left(md5(passage || chr(31) || t), 16);
CREATE OR REPLACE VIEW questions AS
FROM asked_questions
UNION ALL BY NAME
SELECT id, id AS passage_id, coalesce(question, '') AS text,
       CASE WHEN question IS NULL THEN 'completion' ELSE 'real' END AS type, 'given' AS origin
FROM exchanges WHERE fault IS NULL;

-- What the interviews have cost, by run and source.
CREATE VIEW spent AS
SELECT r.run_id, min(r.created_at) AS started_at, s.title AS source, r.purpose, r.model,
       count(*)::BIGINT AS requests, sum(r.attempts)::BIGINT AS attempts,
       sum(r.tokens_in)::BIGINT AS tokens_in, sum(r.tokens_out)::BIGINT AS tokens_out,
       sum(r.cost_usd) AS cost_usd, coalesce(bool_or(r.estimated), false) AS estimated
FROM requests r LEFT JOIN sources s ON s.id = r.source_id
GROUP BY r.run_id, s.title, r.purpose, r.model
ORDER BY started_at, source;

-- Per source and table: found = kept + dropped, and the drops by rule. A thing that several rules
-- speak against counts once, under the first; what could not even become a row (a bad line, an
-- unreadable page) counts by its verdict. `flags` is what was kept and marked.
-- Candidates are the questions that came back: the kept ones are asked.
CREATE OR REPLACE VIEW coverage AS
WITH found AS (
    SELECT id AS source_id, 'sources' AS subject, id FROM sources
    UNION
    SELECT source_id, 'documents', id FROM documents
    UNION
    SELECT source_id, 'pages', id FROM pages
    UNION
    SELECT d.source_id, 'blocks', b.id FROM blocks b JOIN documents d ON d.id = b.document_id
    UNION
    SELECT source_id, 'rows', coalesce(thread_id, id) FROM exchanges WHERE fault IS NULL
    UNION
    SELECT source_id, 'passages', id FROM passages
    UNION
    SELECT p.source_id, 'candidates', q.id
    FROM asked_questions q JOIN cut_passages p ON p.id = q.passage_id
    WHERE q.origin = 'generated' AND q.nth IS NOT NULL
    UNION
    SELECT source_id, 'pairs', id FROM pairs
    UNION
    SELECT source_id, subject, subject_id FROM verdicts
    WHERE NOT keep AND subject IN ('documents', 'pages', 'blocks', 'rows', 'candidates')
      AND rule <> 'withdrawn'
), lost AS (
    SELECT subject, subject_id, arg_min(rule, (created_at, rule)) AS rule
    FROM verdicts WHERE NOT keep GROUP BY subject, subject_id
), counted AS (
    SELECT f.source_id, f.subject, l.rule, count(*) AS n
    FROM found f LEFT JOIN lost l ON l.subject = f.subject AND l.subject_id = f.id
    GROUP BY f.source_id, f.subject, l.rule
), marked AS (
    SELECT source_id, subject, string_agg(rule || ' ' || n, ', ' ORDER BY n DESC, rule) AS flags
    FROM (
        SELECT source_id, subject, rule, count(*) AS n FROM verdicts WHERE keep
        GROUP BY source_id, subject, rule
    ) GROUP BY source_id, subject
)
SELECT s.id AS source_id, s.title AS source, c.subject,
       sum(n)::BIGINT AS found,
       coalesce(sum(n) FILTER (rule IS NULL), 0)::BIGINT AS kept,
       coalesce(sum(n) FILTER (rule IS NOT NULL), 0)::BIGINT AS dropped,
       string_agg(rule || ' ' || n, ', ' ORDER BY n DESC, rule) FILTER (rule IS NOT NULL) AS by_rule,
       any_value(m.flags) AS flags
FROM counted c JOIN sources s ON s.id = c.source_id
LEFT JOIN marked m ON m.source_id = c.source_id AND m.subject = c.subject
GROUP BY s.id, s.title, c.subject
ORDER BY s.title,
         list_position(['sources', 'documents', 'pages', 'rows', 'blocks', 'passages',
                        'candidates', 'pairs'], c.subject);
