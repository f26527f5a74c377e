-- One round: what comes before all that it is linked to, directly or by Jaccard over one other text,
-- stays; what is linked to it so is dropped for it. Two such links leave at least 2 * $min_jaccard - 1
-- in common; a longer chain proves nothing, nor do two links that lead to other numbers.
CREATE OR REPLACE TEMP TABLE nearest AS
SELECT e.words, min(f.place) AS place, min(f.place) FILTER (e.is_close) AS close_place
FROM edges e JOIN fates f ON f.words = e.other_words AND f.winner IS NULL GROUP BY e.words;

CREATE OR REPLACE TEMP TABLE stays AS
SELECT f.words, f.place FROM fates f
LEFT JOIN nearest n ON n.words = f.words
LEFT JOIN (
    SELECT e.words, min(n.close_place) AS place
    FROM edges e JOIN nearest n ON n.words = e.other_words WHERE e.is_close GROUP BY e.words
) far ON far.words = f.words
WHERE f.winner IS NULL AND f.place < coalesce(n.place, f.place + 1)
  AND f.place <= coalesce(far.place, f.place);

CREATE OR REPLACE TEMP TABLE direct AS
SELECT e.words, arg_min(s.words, s.place) AS winner, min(s.place) AS place,
       arg_min(s.words, s.place) FILTER (e.is_close) AS close_winner,
       min(s.place) FILTER (e.is_close) AS close_place
FROM edges e JOIN stays s ON s.words = e.other_words GROUP BY e.words;

UPDATE fates SET winner = words WHERE words IN (SELECT words FROM stays);
UPDATE fates SET winner = d.winner FROM direct d WHERE d.words = fates.words AND fates.winner IS NULL;
UPDATE fates SET winner = d.winner FROM (
    SELECT e.words, arg_min(d.close_winner, d.close_place) AS winner
    FROM edges e JOIN direct d ON d.words = e.other_words
    JOIN fates f ON f.words = e.words JOIN fates w ON w.words = d.close_winner
    WHERE e.is_close AND coalesce(same_numbers(f.numbers, w.numbers), true) GROUP BY e.words
) d WHERE d.words = fates.words AND fates.winner IS NULL;
