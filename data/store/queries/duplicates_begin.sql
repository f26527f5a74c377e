-- The order of sources: the persona's own ones, fewer dropped blocks per block, no PDF, the first.
CREATE OR REPLACE TEMP TABLE source_order AS
SELECT s.id AS source_id, s.mix_share IS NOT NULL AS mixed, row_number() OVER (
           ORDER BY s.mix_share IS NOT NULL, coalesce(round(b.dropped / b.n, 2), 0),
           s.format = 'pdf', s.added_at, s.id) AS place
FROM sources s LEFT JOIN (
    SELECT d.source_id, count(*) AS n, count(v.subject_id) AS dropped
    FROM blocks b JOIN documents d ON d.id = b.document_id
    LEFT JOIN (SELECT DISTINCT subject_id FROM verdicts WHERE subject = 'blocks' AND NOT keep) v
           ON v.subject_id = b.id
    GROUP BY d.source_id
) b ON b.source_id = s.id
WHERE s.withdrawn_at IS NULL;

CREATE OR REPLACE TEMP TABLE outcomes (
    part VARCHAR, id VARCHAR, other_id VARCHAR, cluster VARCHAR, is_same BOOLEAN, similarity DOUBLE,
    measure VARCHAR
);
