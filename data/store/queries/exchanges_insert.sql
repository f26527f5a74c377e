-- $source, $document: their ids. `incoming` holds exchanges with the columns of data/store/exchanges.py.
-- Score: a person or the dataset's maker wrote the question, so only the length and the end of the
-- answer and the length of the question speak against it (weights: QUALITY.md's soft score).
INSERT INTO exchanges BY NAME
SELECT CASE WHEN fault IS NOT NULL THEN row_id($source, source_row)
            WHEN thread IS NOT NULL
            THEN left(md5(concat_ws(chr(31), $source, 'thread', thread, ord)), 16)
            -- The parts are parted by unit separators, empty ones, too.
            ELSE left(md5(concat_ws(chr(31), $source, coalesce(system, ''),
                                    coalesce(question, ''), answer)), 16) END AS id,
       $source AS source_id, $document AS document_id, source_row, ord,
       CASE WHEN thread IS NOT NULL THEN left(md5(concat_ws(chr(31), $source, thread)), 16) END
           AS thread_id,
       nullif(system, '') AS system, question, answer,
       round(0.7 + CASE WHEN strlen(question) BETWEEN 15 AND 250 THEN 0.15 ELSE 0.09 END
             -- 80 to 350 words are best, and letters tell these well enough.
             + 0.15 * (CASE WHEN letters < 2000 THEN least(1.0, letters / 450.0)
                            ELSE greatest(0.5, 2000.0 / letters) END)
                    * (CASE WHEN suffix(answer, '.') OR suffix(answer, '!') OR suffix(answer, '?')
                              OR suffix(answer, '。') OR suffix(answer, '”') OR suffix(answer, '"')
                              THEN 1.0
                            ELSE 0.7 END), 3) AS score,
       fault, reason,
       nullif(concat_ws(' ', notes,
           CASE WHEN has_control(answer) OR has_control(question) THEN 'flag_control:1' END,
           CASE WHEN has_invisible(answer) OR has_invisible(question)
                THEN 'flag_invisible:1' END), '') AS notes
FROM (
    SELECT *,
           -- A Han character is a word of two bytes or three, where a letter is one of them or two.
           strlen(answer) * CASE WHEN strlen(left(answer, 40)) >= 90 THEN 1.9 ELSE 1.0 END
               AS letters
    FROM ({incoming})
)
