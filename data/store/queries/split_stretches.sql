-- The split of every passage of the groups that are cut, and of all of `picked`. $n_test and
-- $n_validation: passages to cut (0 for none) from the ends of the two longest groups, with $gap
-- passages left out before each stretch; a group of fewer than $least passages is not cut.

CREATE OR REPLACE TEMP TABLE stretches AS
WITH longest AS (
    SELECT group_id, n_passages, row_number() OVER (ORDER BY n_passages DESC, group_id) AS nth
    FROM assigned WHERE split = 'train' AND NOT given AND n_passages >= $least
), cut AS (
    SELECT group_id, 'test' AS split, least($n_test, n_passages // 4) AS n
    FROM longest WHERE nth = 1 AND $n_test > 0
    UNION ALL
    SELECT group_id, 'validation', least($n_validation, n_passages // 4) FROM longest
    WHERE $n_validation > 0 AND nth = least((SELECT max(nth) FROM longest), 2)
)
SELECT group_id, split, n,
       coalesce(sum(n + $gap) OVER (PARTITION BY group_id ORDER BY split
                                    ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS after
FROM cut;

UPDATE assigned SET split = 'cut' WHERE group_id IN (SELECT group_id FROM stretches);

-- The passages in reading order, with the split of their nearest neighbours in earlier versions.
CREATE OR REPLACE TEMP TABLE in_order AS
SELECT *, row_number() OVER (PARTITION BY group_id ORDER BY place DESC, passage_id DESC) AS from_end,
       last_value(split IGNORE NULLS) OVER (
           PARTITION BY group_id ORDER BY place, passage_id
           ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS previous,
       first_value(split IGNORE NULLS) OVER (
           PARTITION BY group_id ORDER BY place, passage_id
           ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS next
FROM (
    SELECT p.group_id, p.passage_id, min(coalesce(c.ord, p.ord::INTEGER)) AS place,
           any_value(k.split) AS split
    FROM picked p JOIN assigned a ON a.group_id = p.group_id AND a.split = 'cut'
    LEFT JOIN cut_passages c ON c.id = p.passage_id LEFT JOIN known k ON k.passage_id = p.passage_id
    GROUP BY p.group_id, p.passage_id
);

CREATE OR REPLACE TEMP TABLE in_stretch AS
SELECT o.passage_id,
       CASE WHEN any_value(s.group_id) IS NULL
            -- Cut by an earlier version: what is new there belongs to its neighbours.
            THEN coalesce(any_value(o.split),
                          CASE WHEN any_value(previous) IS DISTINCT FROM any_value(next)
                                AND any_value(previous) IS NOT NULL AND any_value(next) IS NOT NULL
                               THEN 'gap' ELSE coalesce(any_value(previous), any_value(next)) END)
            ELSE coalesce(
                any_value(s.split) FILTER (from_end > after AND from_end <= after + s.n),
                CASE WHEN bool_or(from_end > after + s.n AND from_end <= after + s.n + $gap)
                     THEN 'gap' END) END AS split
FROM in_order o LEFT JOIN stretches s USING (group_id) GROUP BY o.passage_id;

-- What was held out once stays so, whatever becomes of its group.
CREATE OR REPLACE TEMP TABLE divided AS
SELECT p.id,
       coalesce(nullif(k.split, 'train'), i.split, CASE WHEN a.split = 'cut' THEN 'train' ELSE a.split END) AS split
FROM picked p JOIN assigned a USING (group_id)
LEFT JOIN in_stretch i ON i.passage_id = p.passage_id LEFT JOIN known k ON k.passage_id = p.passage_id;
