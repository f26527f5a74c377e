-- $dataset: the version that was composed; what it does not take stays for a later one.
INSERT INTO verdicts BY NAME
WITH taken AS (
    SELECT unnest(pair_ids) AS id FROM conversations WHERE dataset_id = $dataset
), full_groups AS (
    SELECT group_id, count(*) AS n FROM taken JOIN own_pairs USING (id) GROUP BY group_id
), left_out AS (
    SELECT a.*, s.mix_share,
           origin = 'given' AND source_id NOT IN (SELECT subject_id FROM done WHERE step = 'pair') AS unjudged,
           count(*) OVER (PARTITION BY a.thread_id) + coalesce(g.n, 0) AS of_group
    FROM pairs a JOIN sources s ON s.id = a.source_id
    LEFT JOIN full_groups g ON g.group_id = a.group_id
    WHERE s.withdrawn_at IS NULL AND a.id NOT IN (SELECT id FROM taken)
      AND a.id NOT IN (SELECT subject_id FROM verdicts WHERE subject = 'pairs' AND NOT keep)
)
SELECT id AS subject_id, 'pairs' AS subject, false AS keep, score, 'compose' AS step, source_id,
       $now::TIMESTAMPTZ AS created_at,
       CASE WHEN unjudged THEN 'unjudged'
            WHEN origin <> 'disclosure' AND mix_share IS NULL AND of_group > $of_group
            THEN 'group_full' ELSE 'not_selected' END AS rule,
       CASE WHEN unjudged THEN 'its source has not been judged yet'
            WHEN origin = 'disclosure'
            THEN 'compose.disclosure_share now takes fewer of them'
            WHEN mix_share IS NOT NULL THEN 'its source is mixed in with a share of ' || mix_share
            WHEN of_group > $of_group
            THEN 'the dataset takes at most ' || $of_group || ' pairs of a chapter or an episode'
            ELSE 'the dataset takes the best ' || $most || ' pairs' END AS reason,
       CASE WHEN unjudged THEN 'run `memoirist curate` and compose again'
            WHEN origin = 'disclosure' THEN 'raise compose.disclosure_share'
            WHEN mix_share IS NOT NULL THEN 'raise its share under [[sources.mix]]'
            WHEN of_group > $of_group THEN 'raise compose.max_group_pairs'
            ELSE 'raise compose.max_pairs' END AS next_step
FROM left_out;
