-- One round: where a length has more questions than its share, those that lose least take another
-- of their passage's, of a length that has too few. $most_loss is the most that one may lose by it.
CREATE OR REPLACE TEMP TABLE moves AS
WITH total AS (
    SELECT count(*) AS n FROM chosen
), shares AS (
    SELECT unnest([1, 2, 3]) AS length_class, unnest([$short, $middle, $long]) AS share
), lengths AS (
    SELECT s.length_class, floor(s.share * any_value(t.n))::BIGINT AS wanted,
           count(c.passage_id) AS n
    FROM shares s CROSS JOIN total t LEFT JOIN chosen c ON c.length_class = s.length_class
    GROUP BY s.length_class, s.share
), other AS (
    SELECT c.passage_id, c.length_class AS worn, f.n - f.wanted AS surplus, p.id, p.opener,
           p.length_class, p.score, p.place, w.wanted - w.n AS room, round(c.score - p.score, 3) AS loss
    FROM chosen c
    JOIN lengths f ON f.length_class = c.length_class AND f.n > f.wanted
    JOIN pool p ON p.passage_id = c.passage_id AND round(c.score - p.score, 3) <= $most_loss
    JOIN lengths w ON w.length_class = p.length_class AND w.n < w.wanted
), nearest AS (
    SELECT * FROM other QUALIFY row_number() OVER (PARTITION BY passage_id ORDER BY loss, place) = 1
), leaving AS (
    SELECT * FROM nearest QUALIFY row_number() OVER (PARTITION BY worn ORDER BY loss, place) <= surplus
)
SELECT * FROM leaving
QUALIFY row_number() OVER (PARTITION BY length_class ORDER BY loss, place) <= room;

UPDATE chosen SET id = m.id, opener = m.opener, length_class = m.length_class, score = m.score
FROM moves m WHERE m.passage_id = chosen.passage_id;
