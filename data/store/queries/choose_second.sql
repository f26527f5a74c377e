-- Second questions: another opening and another type, the best ones, as far as openings have room.
CREATE OR REPLACE TEMP TABLE seconds AS
WITH n AS (
    SELECT opener, count(*) AS n FROM chosen GROUP BY opener
), first AS (
    SELECT p.* FROM chosen c JOIN pool p ON p.passage_id = c.passage_id AND p.id = c.id
), other AS (
    SELECT p.* FROM first f JOIN pool p ON p.passage_id = f.passage_id
    WHERE p.type <> f.type AND p.opener <> f.opener
    QUALIFY row_number() OVER (PARTITION BY p.passage_id ORDER BY p.score DESC, p.place) = 1
), fitting AS (
    SELECT o.*, $cap - coalesce(n.n, 0) AS room FROM other o LEFT JOIN n ON n.opener = o.opener
    QUALIFY row_number() OVER (PARTITION BY o.opener ORDER BY o.score DESC, o.place) <= room
)
SELECT passage_id, id FROM fitting ORDER BY score DESC, place LIMIT $most;
