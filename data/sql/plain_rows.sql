-- Plain rows of `incoming` as exchanges; data/plain_rows.py fills in what stands in braces.
-- $asked: whether a row has to hold a question; $candidate: what a text with
-- personal data matches, '' where none is masked.
SELECT source_row, 0 AS ord, NULL::VARCHAR AS thread, system,
       CASE WHEN NOT doubtful THEN question END AS question,
       CASE WHEN NOT doubtful THEN answer END AS answer,
       CASE WHEN doubtful THEN 'doubtful' END AS fault,
       CASE WHEN doubtful THEN {line} END AS reason,
       NULL::VARCHAR AS notes
FROM (
    SELECT *,
           coalesce(needs_look(answer), true) OR coalesce(needs_look(question), $asked)
           OR coalesce(is_template(system), false) OR label IS NOT NULL OR {kinds}
           OR CASE WHEN near <> '' AND regexp_matches(near, $candidate)
                   THEN coalesce(regexp_matches(answer, $candidate), false)
                     OR coalesce(regexp_matches(question, $candidate), false)
                     OR coalesce(regexp_matches(system, $candidate), false)
                   ELSE false END AS doubtful
    FROM (
        SELECT source_row, near, answer, system, label, {kept},
               CASE WHEN regexp_matches(context, '\S') THEN question || chr(10) || context
                    ELSE question END AS question
        FROM (SELECT source_row, near, {kept}, {texts} FROM {rows})
    )
)
