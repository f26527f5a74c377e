-- The pairs of texts to compare, at least one of them in `new_bands`; `shared_bands`(words, band) are the
-- fingerprints of these and of whatever shares one with them. Fingerprints that more than $most
-- texts have propose only together with the one before or after; where too many have both, each text
-- is compared with the first few of them.
CREATE OR REPLACE TEMP TABLE frequent AS
SELECT band, count(*) AS n FROM shared_bands GROUP BY band HAVING count(*) > 1;

CREATE OR REPLACE TEMP TABLE postings AS
SELECT words, band, n FROM shared_bands JOIN frequent USING (band);

CREATE OR REPLACE TEMP TABLE heavy AS SELECT band FROM frequent WHERE n > $most;

CREATE OR REPLACE TEMP TABLE crowded AS
SELECT DISTINCT words, hash(band, next) AS band FROM (
    SELECT words, unnest(bands) AS band, unnest(bands[2:]) AS next FROM duplicate_bands
    WHERE part = $part AND EXISTS (FROM heavy)
) WHERE next IS NOT NULL AND (band IN (FROM heavy) OR next IN (FROM heavy));

CREATE OR REPLACE TEMP TABLE crowded AS
SELECT words, band, n FROM crowded JOIN (
    SELECT band, count(*) AS n FROM crowded GROUP BY band
) USING (band);

-- How many fingerprints of a text can propose.
CREATE OR REPLACE TEMP TABLE sizes AS
SELECT words, len(bands) - coalesce(heavy, 0) + coalesce(paired, 0) AS size
FROM duplicate_bands
LEFT JOIN (SELECT words, count(*) AS heavy FROM postings WHERE n > $most GROUP BY words) USING (words)
LEFT JOIN (SELECT words, count(*) AS paired FROM crowded WHERE n <= $most GROUP BY words) USING (words)
WHERE part = $part AND words IN (SELECT words FROM postings);

CREATE OR REPLACE TEMP TABLE proposed AS
WITH light AS (
    SELECT words, band::UBIGINT AS band FROM postings WHERE n <= $most
    UNION ALL SELECT words, band FROM crowded WHERE n BETWEEN 2 AND $most
), holders AS (
    SELECT words, band, words IN (SELECT words FROM new_bands) AS is_new FROM light
), firsts AS (
    SELECT band, unnest(min(words, $few)) AS words FROM crowded WHERE n > $most GROUP BY band
), met AS (
    SELECT a.words, b.words AS other_words, 1 AS weight FROM holders a JOIN holders b USING (band)
    WHERE a.is_new AND (a.words < b.words OR (a.words > b.words AND NOT b.is_new))
    UNION ALL
    SELECT greatest(c.words, f.words), least(c.words, f.words), 0 FROM crowded c
    JOIN firsts f ON f.band = c.band AND f.words <> c.words
    WHERE c.words IN (SELECT words FROM new_bands) OR f.words IN (SELECT words FROM new_bands)
)
SELECT least(m.words, m.other_words) AS words, greatest(m.words, m.other_words) AS other_words
FROM met m JOIN sizes a ON a.words = m.words JOIN sizes b ON b.words = m.other_words
GROUP BY ALL
HAVING sum(weight) >= floor($share * least(any_value(a.size), any_value(b.size)));

DROP TABLE frequent;
DROP TABLE heavy;
DROP TABLE postings;
DROP TABLE crowded;
DROP TABLE sizes;
