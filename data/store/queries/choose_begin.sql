-- wanted(passage_id, key, source_id): the passages to be asked about, and the key of each today.
-- An answer under that key counts; without one, the newest answer that its text got under another.
CREATE OR REPLACE TEMP TABLE answered AS
SELECT w.passage_id, w.source_id,
       coalesce(any_value(r.key) FILTER (r.key = w.key), arg_max(r.key, (r.created_at, r.key))) AS key
FROM wanted w JOIN requests r ON r.passage_hash = w.passage_hash
WHERE r.purpose = 'interview' AND r.status = 'ok'
GROUP BY w.passage_id, w.source_id;

-- What may be chosen: `place` settles ties by the seed, in an order that is nobody's.
CREATE OR REPLACE TEMP TABLE pool AS
SELECT a.passage_id, c.id, c.opener, c.type, c.length_class, c.score, md5($seed || c.id) AS place
FROM answered a JOIN candidates c ON c.key = a.key
WHERE c.rule IS NULL;

CREATE OR REPLACE TEMP TABLE chosen AS
SELECT passage_id, arg_max(id, (score, place)) AS id, arg_max(opener, (score, place)) AS opener,
       arg_max(length_class, (score, place)) AS length_class, max(score) AS score
FROM pool GROUP BY passage_id;
