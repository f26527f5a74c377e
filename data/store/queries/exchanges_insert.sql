-- $source, $document: their ids. `incoming` holds exchanges with the columns of data/store/exchanges.py.
INSERT INTO exchanges BY NAME
SELECT CASE WHEN fault IS NOT NULL THEN row_id($source, source_row)
            WHEN thread IS NOT NULL
            THEN left(md5(concat_ws(chr(31), $source, 'thread', thread, ord)), 16)
            -- The parts are parted by unit separators, empty ones, too.
            ELSE left(md5(concat_ws(chr(31), $source, coalesce(system, ''),
                                    coalesce(question, ''), answer, tool_turns)), 16) END AS id,
       $source AS source_id, $document AS document_id, source_row, ord,
       CASE WHEN thread IS NOT NULL THEN left(md5(concat_ws(chr(31), $source, thread)), 16) END
           AS thread_id,
       nullif(system, '') AS system, question, answer,
       fault, reason, tool_turns,
       nullif(concat_ws(' ', notes,
           CASE WHEN has_control(answer) OR has_control(question) THEN 'flag_control:1' END,
           CASE WHEN has_invisible(answer) OR has_invisible(question)
                THEN 'flag_invisible:1' END), '') AS notes
FROM ({incoming})
