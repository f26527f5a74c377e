-- One round: where an opening has too many questions, those that lose least take another of their
-- passage's, as far as its opening has room.
CREATE OR REPLACE TEMP TABLE moves AS
WITH n AS (
    SELECT opener, count(*) AS n FROM chosen GROUP BY opener
), other AS (
    SELECT c.passage_id, c.opener AS worn, n.n - $cap AS surplus, p.id, p.opener, p.score, p.place,
           $cap - coalesce(m.n, 0) AS room, c.score - p.score AS loss
    FROM chosen c JOIN n ON n.opener = c.opener AND n.n > $cap
    JOIN pool p ON p.passage_id = c.passage_id AND p.opener <> c.opener
    LEFT JOIN n m ON m.opener = p.opener
    WHERE coalesce(m.n, 0) < $cap
), nearest AS (
    SELECT * FROM other QUALIFY row_number() OVER (PARTITION BY passage_id ORDER BY loss, place) = 1
), leaving AS (
    SELECT * FROM nearest QUALIFY row_number() OVER (PARTITION BY worn ORDER BY loss, place) <= surplus
)
SELECT * FROM leaving QUALIFY row_number() OVER (PARTITION BY opener ORDER BY loss, place) <= room;

UPDATE chosen SET id = m.id, opener = m.opener, score = m.score
FROM moves m WHERE m.passage_id = chosen.passage_id;
