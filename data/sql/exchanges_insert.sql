-- $source, $document: their ids. `incoming` holds the batches of data/exchanges.py.
-- Score: a person or the dataset's maker wrote the question, so only the length and the end of the
-- answer and the length of the question speak against it (weights: QUALITY.md's soft score).
INSERT INTO exchanges BY NAME
SELECT id, $source AS source_id, $document AS document_id, source_row, ord,
       CASE WHEN thread IS NOT NULL THEN left(md5(concat_ws(chr(31), $source, thread)), 16) END
           AS thread_id,
       nullif(system, '') AS system, question, answer, n_words,
       round(0.7 + CASE WHEN strlen(question) BETWEEN 15 AND 250 THEN 0.15 ELSE 0.09 END
             + 0.15 * (CASE WHEN n_words < 350 THEN least(1.0, n_words / 80.0)
                            ELSE greatest(0.5, 350.0 / n_words) END)
                    * (CASE WHEN suffix(answer, '.') OR suffix(answer, '!') OR suffix(answer, '?')
                              OR suffix(answer, '。') OR suffix(answer, '”') OR suffix(answer, '"')
                              THEN 1.0
                            ELSE 0.7 END), 3) AS score,
       head_of(coalesce(question, ''), answer) AS head, fault, reason,
       nullif(concat_ws(' ', notes,
           CASE WHEN has_control(answer) OR has_control(question) THEN 'flag_control:1' END,
           CASE WHEN has_invisible(answer) OR has_invisible(question)
                THEN 'flag_invisible:1' END), '') AS notes
FROM (
    SELECT * EXCLUDE (n_words),
           -- A Han, kana or Hangul character is a word of its own, as data/text.py counts.
           CASE WHEN n_words IS NOT NULL THEN n_words
                ELSE len(regexp_extract_all(answer,
                    '[\x{3040}-\x{30ff}\x{3400}-\x{4dbf}\x{4e00}-\x{9fff}\x{f900}-\x{faff}\x{ac00}-\x{d7af}]|[\pL\pN]+(?:[''’\-][\pL\pN]+)*'))
           END AS n_words
    FROM incoming
);
