-- What became of everything that has a near duplicate. A cluster is what is linked, over however many
-- texts (connected components), and is named by its best.
INSERT INTO outcomes BY NAME
WITH RECURSIVE component (words, root) USING KEY (words) AS (
    SELECT words, least(words, min(other_words)) FROM edges GROUP BY words
    UNION
    SELECT e.words, min(c.root) FROM edges e
    JOIN component c ON c.words = e.other_words
    JOIN recurring.component own ON own.words = e.words
    GROUP BY e.words, own.root HAVING min(c.root) < own.root
), placed AS (
    SELECT r.id, r.place, r.can_lose, n.words, n.n, coalesce(f.winner, n.words) AS winner,
           coalesce(c.root, n.words) AS root
    FROM ranked r JOIN duplicate_texts t ON t.part = $part AND t.id = r.id
    JOIN nodes n ON n.words = t.words
    LEFT JOIN fates f ON f.words = n.words LEFT JOIN component c ON c.words = n.words
    WHERE n.n > 1 OR f.words IS NOT NULL
), best AS (
    SELECT words, arg_min(id, place) AS id FROM placed GROUP BY words
), clusters AS (
    SELECT root, arg_min(id, place) AS id FROM placed GROUP BY root
)
SELECT $part AS part, p.id, CASE WHEN b.id <> p.id AND p.can_lose THEN b.id END AS other_id, c.id AS cluster,
       p.words = p.winner AS is_same,
       CASE WHEN p.words = p.winner THEN 1.0 WHEN l.jaccard >= $min_jaccard THEN l.jaccard
            WHEN l.containment >= $min_containment THEN l.containment ELSE l.jaccard END AS similarity,
       CASE WHEN p.words = p.winner OR l.jaccard >= $min_jaccard OR l.containment < $min_containment
            THEN 'jaccard' WHEN $part = 'meanings' THEN 'cosine' ELSE 'containment' END AS measure
FROM placed p JOIN best b ON b.words = p.winner JOIN clusters c ON c.root = p.root
LEFT JOIN duplicate_links l ON l.part = $part AND l.words = least(p.words, p.winner)
                           AND l.other_words = greatest(p.words, p.winner);
