-- The pairs to measure, in the temporary table `stale`, and the statistics of stems in their scopes.
-- A scope is a podcast's episode, else a source; one with fewer than eight pairs takes the statistics of
-- the whole workspace. Of many pairs, the 2,000 with the smallest ids (hashes) are the sample.
CREATE OR REPLACE TEMP TABLE scoped AS
WITH own AS (
    SELECT a.id AS pair_id, CASE WHEN s.kind = 'podcast' THEN p.document_id ELSE a.source_id END AS scope
    FROM made_pairs a JOIN sources s ON s.id = a.source_id
    LEFT JOIN cut_passages p ON p.id = a.passage_id WHERE s.format <> 'disclosure'
    UNION ALL
    SELECT id, source_id FROM exchanges WHERE fault IS NULL
), sizes AS (
    SELECT scope, count(*) AS n FROM own GROUP BY scope
)
SELECT pair_id, CASE WHEN n < 8 THEN 'workspace' ELSE scope END AS scope FROM own JOIN sizes USING (scope);

CREATE OR REPLACE TEMP TABLE samples AS
SELECT scope, ids, CASE WHEN len(ids) >= 8 THEN md5(array_to_string(ids, ' ')) END AS sample
FROM (
    SELECT scope, min(pair_id, 2000) AS ids FROM scoped WHERE scope <> 'workspace' GROUP BY scope
    UNION ALL
    SELECT 'workspace', min(pair_id, 2000) FROM scoped
    HAVING bool_or(scope = 'workspace')
);

DELETE FROM pair_signals WHERE pair_id NOT IN (SELECT pair_id FROM scoped);
DELETE FROM pair_scores WHERE pair_id NOT IN (SELECT pair_id FROM scoped);

CREATE OR REPLACE TEMP TABLE stale AS
SELECT row_number() OVER () AS n, s.*, coalesce(a.question, '') AS question, a.answer
FROM (
    SELECT s.pair_id, s.scope, m.sample FROM scoped s JOIN samples m USING (scope)
    ANTI JOIN pair_signals p ON p.pair_id = s.pair_id AND p.scope = s.scope
        AND p.sample IS NOT DISTINCT FROM m.sample AND p.lang = rules_lang()
) s JOIN (
    SELECT id, question, answer FROM made_pairs
    UNION ALL SELECT id, question, answer FROM exchanges WHERE fault IS NULL
) a ON a.id = s.pair_id;

CREATE OR REPLACE TEMP TABLE sampled AS
SELECT m.scope, m.pair_id, rules_lang() AS lang, coalesce(a.question, '') AS question, a.answer
FROM (SELECT scope, unnest(ids) AS pair_id FROM samples WHERE scope IN (SELECT scope FROM stale)) m
JOIN (
    SELECT id, question, answer FROM made_pairs
    UNION ALL SELECT id, question, answer FROM exchanges WHERE fault IS NULL
) a ON a.id = m.pair_id;

CREATE OR REPLACE TEMP TABLE sampled_terms AS
SELECT s.scope, t.* FROM pair_terms('sampled') t JOIN sampled s USING (pair_id);

-- Each scope's number of pairs and mean length of an answer, in stems.
CREATE OR REPLACE TEMP TABLE scopes AS
SELECT scope, any_value(p.n) AS n, sum(t.n) FILTER (side = 'a') / any_value(p.n) AS mean_length
FROM sampled_terms t
JOIN (SELECT scope, count(*) AS n FROM sampled GROUP BY scope HAVING count(*) >= 8) p USING (scope)
GROUP BY scope;

-- Each stem's weight (BM25 with idf to the power of 1.5), and its means over answers and questions.
CREATE OR REPLACE TEMP TABLE scope_stems AS
WITH lengths AS (
    SELECT scope, pair_id, sum(n) AS size FROM sampled_terms WHERE side = 'a' GROUP BY scope, pair_id
), frequencies AS (
    SELECT scope, stem, count(*) FILTER (side = 'a') AS in_answers,
           coalesce(sum(weight) FILTER (side = 'q'), 0) AS in_questions
    FROM sampled_terms GROUP BY scope, stem
), weights AS (
    SELECT scope, stem, stem_idf(s.n, in_answers) AS idf, in_questions / s.n AS mean_question
    FROM frequencies JOIN scopes s USING (scope)
)
SELECT w.scope, w.stem, any_value(idf) AS idf, any_value(mean_question) AS mean_question,
       coalesce(sum(idf * bm25_weight(t.weight, l.size / s.mean_length)), 0) / any_value(s.n) AS mean_answer
FROM weights w JOIN scopes s USING (scope)
LEFT JOIN (sampled_terms t JOIN lengths l USING (scope, pair_id))
  ON t.scope = w.scope AND t.stem = w.stem AND t.side = 'a'
GROUP BY w.scope, w.stem;
