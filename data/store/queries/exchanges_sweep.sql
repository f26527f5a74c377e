-- What exchanges_verdicts.sql has told of.
DELETE FROM exchanges WHERE source_id = $source AND fault IS NOT NULL;

CREATE OR REPLACE TEMP TABLE twins AS
SELECT id, min(source_row) AS first_row FROM exchanges
WHERE source_id = $source GROUP BY id HAVING count(*) > 1;

DELETE FROM exchanges USING twins
WHERE exchanges.id = twins.id AND exchanges.source_id = $source
  AND exchanges.source_row > twins.first_row;
