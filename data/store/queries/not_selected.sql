-- $dataset: the version that was composed; what it does not take stays for a later one.
INSERT INTO verdicts BY NAME
SELECT a.id AS subject_id, 'pairs' AS subject, 'not_selected' AS rule, false AS keep,
       a.score AS score,
       CASE WHEN a.origin = 'disclosure'
            THEN 'compose.disclosure_share takes fewer of them now'
            WHEN s.mix_share IS NULL
            THEN 'the dataset takes the best ' || $most || ' pairs, none of them alike'
            ELSE 'its source is mixed in with a share of ' || s.mix_share END AS reason,
       CASE WHEN a.origin = 'disclosure' THEN 'raise compose.disclosure_share'
            WHEN s.mix_share IS NULL THEN 'raise compose.max_pairs'
            ELSE 'raise its share under [[sources.mix]]' END AS next_step,
       'compose' AS step, a.source_id, $now::TIMESTAMPTZ AS created_at
FROM pairs a JOIN sources s ON s.id = a.source_id
WHERE s.withdrawn_at IS NULL
  AND a.id NOT IN (SELECT unnest(pair_ids) FROM conversations WHERE dataset_id = $dataset)
  AND a.id NOT IN (SELECT subject_id FROM verdicts WHERE subject = 'pairs' AND NOT keep);
