-- The split of every group of `picked` (id, source_id, group_id, passage_id, origin, ord); $seed,
-- $test_share, $validation_share, $max_source_share and $hold_out_source are settings of [compose].

-- The passages that any earlier version held out, and those that the newest one trains on. What has
-- taken the place of a held-out text as its near duplicate is held out as well. Clusters of questions join
-- nothing here: hosts ask the same again and again, and the purge drops what asks a held-out question.
CREATE OR REPLACE TEMP TABLE known AS
WITH earlier AS (
    SELECT a.id, a.passage_id, c.split
    FROM (
        SELECT unnest(pair_ids) AS id, split FROM conversations
        WHERE split <> 'train' OR dataset_id = (SELECT max_by(id, used_at) FROM datasets)
    ) c JOIN own_pairs a USING (id)
), held AS (
    SELECT DISTINCT d.cluster, e.split
    FROM (SELECT unnest([id, passage_id]) AS id, split FROM earlier WHERE split <> 'train') e
    JOIN duplicates d ON d.subject_id = e.id AND d.part <> 'questions'
), everywhere AS (
    SELECT passage_id, split FROM earlier
    UNION ALL
    SELECT p.passage_id, h.split
    FROM (SELECT unnest([id, passage_id]) AS id, passage_id FROM picked) p
    JOIN duplicates d ON d.subject_id = p.id AND d.part <> 'questions'
    JOIN held h USING (cluster)
)
SELECT passage_id,
       CASE WHEN bool_or(split = 'test') THEN 'test'
            WHEN bool_or(split = 'validation') THEN 'validation' ELSE 'train' END AS split
FROM everywhere GROUP BY passage_id;

-- The groups with their earlier split; under a new name, a group has that of most of its passages.
CREATE OR REPLACE TEMP TABLE groups AS
SELECT p.group_id, min(p.source_id) AS source_id, count(*) AS n,
       count(DISTINCT p.passage_id) AS n_passages, bool_and(p.origin = 'given') AS given,
       coalesce(any_value(s.split), mode(k.split)) AS before
FROM picked p LEFT JOIN splits s USING (group_id) LEFT JOIN known k USING (passage_id)
GROUP BY p.group_id;

-- Groups that one cluster of near duplicates joins; such a unit gets one split.
CREATE OR REPLACE TEMP TABLE units AS
WITH RECURSIVE members AS (
    SELECT p.group_id, d.cluster FROM duplicates d JOIN picked p ON p.id = d.subject_id
    WHERE d.part <> 'questions'
    UNION
    SELECT p.group_id, d.cluster FROM duplicates d JOIN picked p ON p.passage_id = d.subject_id
    WHERE d.part <> 'questions'
), links AS (
    SELECT DISTINCT a.group_id, b.group_id AS other_id
    FROM members a JOIN members b ON b.cluster = a.cluster AND b.group_id <> a.group_id
), joined (group_id, unit) USING KEY (group_id) AS (
    SELECT group_id, group_id FROM groups
    UNION
    SELECT l.other_id, min(j.unit)
    FROM joined j JOIN links l ON l.group_id = j.group_id
    JOIN recurring.joined r ON r.group_id = l.other_id AND j.unit < r.unit
    GROUP BY l.other_id
)
FROM joined;

-- One small source of three or more is test as a whole: a former one, else one never trained on.
CREATE OR REPLACE TEMP TABLE whole AS
SELECT source_id, n FROM (
    SELECT source_id, sum(n) AS n, sum(sum(n)) OVER () AS total, count(*) OVER () AS n_sources,
           coalesce(bool_or(before = 'test'), false) AS tested,
           coalesce(bool_or(before <> 'test'), false) AS trained
    FROM groups GROUP BY source_id
)
WHERE $hold_out_source AND NOT trained
  AND (tested OR (n_sources >= 3 AND n <= $max_source_share * total))
ORDER BY tested DESC, md5($seed || source_id) LIMIT 1;

-- Shares are counted per source; sources of one or two groups are counted together.
CREATE OR REPLACE TEMP TABLE placed AS
SELECT g.*, u.unit,
       CASE WHEN count(*) OVER (PARTITION BY g.source_id) > 2 THEN g.source_id ELSE '' END AS scope,
       coalesce(before, CASE WHEN g.source_id IN (SELECT source_id FROM whole) THEN 'test' END)
           AS split
FROM groups g JOIN units u USING (group_id);

-- New units in the order of a seeded hash go to test until its share is reached, then to
-- validation, the rest to train; one of more than a quarter of its scope always goes to train.
CREATE OR REPLACE TEMP TABLE assigned AS
WITH scopes AS (
    SELECT scope, sum(n) AS total, count(*) AS n_groups,
           $test_share * sum(n) - coalesce(sum(n) FILTER (split = 'test'), 0) AS test_room,
           $validation_share * sum(n) - coalesce(sum(n) FILTER (split = 'validation'), 0)
               AS validation_room
    FROM placed GROUP BY scope
), sized AS (
    SELECT p.unit, min(p.scope) AS scope, sum(n) FILTER (split IS NULL) AS n,
           CASE WHEN bool_or(split = 'test') THEN 'test'
                WHEN bool_or(split = 'validation') THEN 'validation'
                WHEN count(split) > 0 THEN 'train' END AS joined
    FROM placed p GROUP BY p.unit
), open AS (
    SELECT z.unit, s.scope, z.n, test_room, validation_room,
           sum(z.n) OVER (PARTITION BY s.scope ORDER BY md5($seed || unit), unit
                          ROWS UNBOUNDED PRECEDING) - z.n AS before
    FROM sized z JOIN scopes s USING (scope)
    WHERE joined IS NULL AND s.n_groups > 2 AND z.n <= greatest(1, total / 4)
), tested AS (
    SELECT unit, scope, n FROM open WHERE before < test_room
), validated AS (
    SELECT o.unit FROM open o
    WHERE o.unit NOT IN (SELECT unit FROM tested)
      AND o.before - coalesce((SELECT sum(n) FROM tested t WHERE t.scope = o.scope), 0)
          < validation_room
)
SELECT p.group_id, p.source_id, p.n, p.n_passages, p.given, p.before,
       coalesce(p.split,
                CASE WHEN p.unit IN (SELECT unit FROM tested) THEN 'test'
                     WHEN p.unit IN (SELECT unit FROM validated) THEN 'validation'
                     WHEN z.n <= greatest(1, s.total / 4) THEN z.joined END,
                'train') AS split
FROM placed p JOIN sized z USING (unit) JOIN scopes s ON s.scope = z.scope;
