-- The score of every pair from its signals and the thresholds in force; only rows that differ are
-- written. How well each part tells 383 real pairs of 8 episodes from the same answers with the questions
-- shuffled within the episode (AUC; tests/benchmarks/score_auc.py measures it again):
--   relevance    0.781  the stems of the question that the answer takes up (BM25), less what this
--                      question finds in other answers and this answer finds in other questions
--                      (0.825 where the optional model of sentences adds its `cosine`)
--   no_leak      0.451  1 until the question tells half of what max_leak allows, in four stems or more
--   form, standalone, answer, specificity  .500  they look at the question or the answer alone
--   quality      0.772  their weighted sum; plain BM25 has .714, the former sum of six
--                      parts of these names .481
-- `quality` is what min_score compares, by one formula for all origins. `score` adds the origin: real
-- questions .5 to 1, generated ones .25 to .75, templates 0 to .5.
CREATE OR REPLACE TEMP TABLE scored AS
SELECT pair_id, relevance, no_leak, form, standalone, answer, specificity, quality,
       round(tier + quality / 2, 3) AS score
FROM (
    SELECT *, round(0.7 * relevance + 0.1 * no_leak + 0.05 * form + 0.05 * standalone + 0.05 * answer
                    + 0.05 * specificity, 3) AS quality
    FROM (
        SELECT s.pair_id,
               CASE origin WHEN 'template' THEN 0 WHEN 'generated' THEN 0.25 ELSE 0.5 END AS tier,
               -- Without statistics, the share of the question's stems that stand in the answer has to do.
               round(CASE WHEN match IS NOT NULL THEN 1 / (1 + exp(-4 * (match + 2 * coalesce(cosine, 0))))
                          ELSE least(1, 0.5 + shared_stems / greatest(1, question_stems)) END, 4)
                   AS relevance,
               (1 - least(1, greatest(0, 2 * leak / threshold('rejects.max_leak') - 1))
                    * least(1, greatest(0, (shared_stems - 3) / 3)))
                   * CASE WHEN shared_run >= 5 THEN 0.7 ELSE 1 END AS no_leak,
               CASE WHEN question_words BETWEEN 4 AND 39 THEN 1 ELSE 0.6 END AS form,
               greatest(0, 1 - 0.25 * pointers) AS standalone,
               CASE WHEN answer_words < 350 THEN least(1, answer_words / 80)
                    ELSE greatest(0.5, 350 / answer_words) END
                   * CASE WHEN answer_ends THEN 1 ELSE 0.7 END AS answer,
               least(1, question_stems / 4) AS specificity
        FROM pair_signals s
        JOIN (SELECT id, origin FROM made_pairs
              UNION ALL SELECT id, 'given' FROM exchanges WHERE fault IS NULL) a ON a.id = s.pair_id
    )
);

DELETE FROM pair_scores WHERE pair_id NOT IN (SELECT pair_id FROM scored INTERSECT SELECT pair_id FROM pair_scores)
    OR pair_id IN (SELECT pair_id FROM (FROM pair_scores EXCEPT FROM scored));

INSERT INTO pair_scores BY NAME FROM scored ANTI JOIN pair_scores USING (pair_id);
