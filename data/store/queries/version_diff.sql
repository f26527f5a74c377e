-- What differs between the dataset versions $a and $b, with the rule and the reason: pairs that
-- came, went, or changed their split, and pairs in neither that another rule leaves out now. `n`
-- counts all of a kind and rule; $examples rows of each are shown. A version without a recipe was
-- composed before versions kept what they leave out: the rule is unknown.
WITH held AS (
    SELECT dataset_id, split, unnest(pair_ids) AS pair_id FROM conversations
    WHERE dataset_id IN ($a, $b)
), members AS (
    SELECT coalesce(a.pair_id, b.pair_id) AS pair_id, a.split AS before, b.split AS after
    FROM (FROM held WHERE dataset_id = $a) a FULL JOIN (FROM held WHERE dataset_id = $b) b
      ON a.pair_id = b.pair_id
    WHERE $a <> $b AND a.split IS DISTINCT FROM b.split
), reasons AS (
    SELECT subject_id, any_value(rule) FILTER (dataset_id = $a) AS rule_a,
           any_value(reason) FILTER (dataset_id = $a) AS reason_a,
           any_value(rule) FILTER (dataset_id = $b) AS rule_b,
           any_value(reason) FILTER (dataset_id = $b) AS reason_b
    FROM version_verdicts WHERE dataset_id IN ($a, $b) GROUP BY subject_id
), changes AS (
    SELECT CASE WHEN before IS NULL THEN 'came' WHEN after IS NULL THEN 'went' ELSE 'moved' END
               AS change,
           concat_ws(' -> ', before, after) AS split, pair_id,
           CASE WHEN before IS NULL THEN coalesce(t.rule_a, u.rule_a)
                WHEN after IS NULL THEN t.rule_b END AS rule,
           CASE WHEN before IS NULL THEN coalesce(t.reason_a, u.reason_a)
                WHEN after IS NULL THEN t.reason_b ELSE 'its group has another split' END AS reason
    FROM members LEFT JOIN own_pairs p ON p.id = pair_id
    LEFT JOIN reasons t ON t.subject_id = pair_id LEFT JOIN reasons u ON u.subject_id = p.passage_id
    UNION ALL
    SELECT 'verdict', '', t.subject_id, rule_a || ' -> ' || rule_b, reason_b
    FROM reasons t JOIN own_pairs p ON p.id = t.subject_id
    WHERE rule_a <> rule_b AND t.subject_id NOT IN (SELECT pair_id FROM held)
), named AS (
    SELECT change, split, pair_id, s.title AS source, p.question, reason,
           CASE WHEN rule IS NOT NULL THEN rule WHEN change = 'moved' THEN 'split'
                WHEN change = 'went' AND (p.id IS NULL OR b.recipe IS NOT NULL) THEN 'gone'
                WHEN change = 'came' AND s.added_at > a.used_at THEN 'new_source'
                WHEN change = 'came' AND a.recipe IS NOT NULL THEN 'new_pair'
                ELSE 'unknown' END AS rule
    FROM changes c LEFT JOIN own_pairs p ON p.id = c.pair_id
    LEFT JOIN sources s ON s.id = p.source_id
    JOIN datasets a ON a.id = $a JOIN datasets b ON b.id = $b
)
SELECT change, rule, count(*) OVER (PARTITION BY change, rule) AS n, split, pair_id, source, question,
       coalesce(reason, CASE rule WHEN 'gone' THEN 'its passage or its question is no longer there'
                             WHEN 'new_source' THEN 'its source was added since'
                             WHEN 'new_pair' THEN 'its passage or its question is new since'
                             ELSE 'unknown: an older version of the program stored no reasons' END) AS reason
FROM named
QUALIFY row_number() OVER (PARTITION BY change, rule ORDER BY md5(pair_id)) <= $examples
ORDER BY list_position(['came', 'went', 'moved', 'verdict'], change), n DESC, rule, pair_id;
