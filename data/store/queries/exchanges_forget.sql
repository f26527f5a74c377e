-- What a dataset version holds stays, as rows cut and made, or the way back from it would be lost.
CREATE OR REPLACE TEMP TABLE held AS
SELECT * FROM exchanges
WHERE source_id = $source AND fault IS NULL
  AND id IN (SELECT unnest(pair_ids) FROM conversations);

DELETE FROM exchanges WHERE source_id = $source;
-- Of one that is killed between its two transactions nothing counts until it is read again.
DELETE FROM done WHERE step IN ('extract', 'pair') AND subject_id = $source;
DELETE FROM verdicts WHERE source_id = $source AND step = 'extract';
