-- Losers and winners whose similarity is not known yet.
CREATE OR REPLACE TEMP TABLE unlinked AS
SELECT least(f.words, f.winner) AS words, greatest(f.words, f.winner) AS other_words FROM fates f
WHERE f.words <> f.winner AND NOT EXISTS (
    SELECT 1 FROM duplicate_links l WHERE l.part = $part AND l.words = least(f.words, f.winner)
                                      AND l.other_words = greatest(f.words, f.winner));
