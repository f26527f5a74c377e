-- `ranked`(id, place, tier, can_lose): the things that are compared now, the best first. Each text has the place
-- of its best one; where a text stands inside a longer one, the longer one comes first.
CREATE OR REPLACE TEMP TABLE nodes AS
SELECT t.words, min(r.place) AS place, min(r.tier) AS tier, bool_and(r.can_lose) AS can_lose,
       count(*) AS n
FROM ranked r JOIN duplicate_texts t ON t.part = $part AND t.id = r.id
WHERE t.words IS NOT NULL GROUP BY t.words;

CREATE OR REPLACE TEMP TABLE edges AS
SELECT l.words, l.other_words, l.jaccard >= $min_jaccard AS is_close, l.n_grams < l.other_grams AS is_inside
FROM (
    SELECT words, other_words, jaccard, containment, n_grams, other_grams
    FROM duplicate_links WHERE part = $part
    UNION ALL
    SELECT other_words, words, jaccard, containment, other_grams, n_grams
    FROM duplicate_links WHERE part = $part
) l JOIN nodes a ON a.words = l.words JOIN nodes b ON b.words = l.other_words
WHERE (l.jaccard >= $min_jaccard OR (l.containment >= $min_containment
                                      AND least(l.n_grams, l.other_grams) >= $least_inside))
  AND (a.can_lose OR b.can_lose);

CREATE OR REPLACE TEMP TABLE fates AS
SELECT words, row_number() OVER (ORDER BY tier, words IN (
           SELECT e.words FROM edges e JOIN nodes a ON a.words = e.words
           JOIN nodes b ON b.words = e.other_words
           WHERE e.is_inside AND NOT e.is_close AND b.tier <= a.tier
       ), place) AS place, NULL::UBIGINT AS winner, numbers
FROM nodes LEFT JOIN (
    SELECT t.words, array_to_string(numbers_of(concat_ws(' ', any_value(question), any_value(answer))), ' ')
               AS numbers
    FROM items JOIN duplicate_texts t USING (id)
    WHERE $short AND t.part = $part AND t.words IN (SELECT words FROM edges) GROUP BY t.words
) USING (words) WHERE words IN (SELECT words FROM edges);
