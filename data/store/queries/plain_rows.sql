-- Plain rows of `incoming` as exchanges; data/store/exchanges.py fills in what stands in braces.
-- $asked: whether a row has to hold a question; $candidate: what a text with
-- personal data matches, '' where none is masked.
SELECT source_row, 0 AS ord, NULL::VARCHAR AS thread,
       CASE WHEN NOT doubtful AND NOT is_blank(system) THEN system END AS system,
       CASE WHEN NOT doubtful THEN asked END AS question,
       CASE WHEN NOT doubtful THEN answer END AS answer,
       CASE WHEN doubtful THEN 'doubtful' END AS fault,
       CASE WHEN doubtful THEN {line} END AS reason,
       NULL::VARCHAR AS notes, NULL::VARCHAR AS tool_turns
FROM (
    SELECT *,
           coalesce(needs_look(answer), true) OR coalesce(needs_look(question), $asked)
           OR coalesce(has_thought(answer) OR has_tool_call(answer), false)
           OR coalesce(is_template(context), false) OR coalesce(is_template(system), false)
           OR label IS NOT NULL OR {kinds}
           OR CASE WHEN near <> '' AND regexp_matches(near, $candidate)
                   THEN coalesce(regexp_matches(answer, $candidate), false)
                     OR coalesce(regexp_matches(asked, $candidate), false)
                     OR coalesce(regexp_matches(system, $candidate), false)
                   ELSE false END AS doubtful
    FROM (
        SELECT *, CASE WHEN NOT is_blank(context) THEN question || chr(10) || context
                       ELSE question END AS asked
        FROM (SELECT source_row, near, {kept}, {texts} FROM {rows})
    )
)
