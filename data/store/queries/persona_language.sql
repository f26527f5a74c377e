-- The language of most of the persona's words. $1: the formats of sources that the program writes.
SELECT d.lang
FROM documents d
JOIN sources s ON s.id = d.source_id
JOIN (
    SELECT document_id, sum(n_words) AS size FROM cut_passages GROUP BY document_id
    UNION ALL
    -- To count the words of a million rows takes too long: 80 words are assumed for each.
    SELECT document_id, 80 * count(*) FROM exchanges GROUP BY document_id
) sizes ON sizes.document_id = d.id
WHERE d.lang <> 'und' AND s.mix_share IS NULL AND s.withdrawn_at IS NULL
  AND NOT list_contains($1, s.format)
GROUP BY d.lang
ORDER BY sum(sizes.size) DESC, d.lang
LIMIT 1
