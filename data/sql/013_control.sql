-- More chat formats than 010 knew; the same pattern stands in data/text.py, and a test compares.
CREATE OR REPLACE MACRO has_control(t) AS
    CASE WHEN NOT (contains(t, '<') OR contains(t, '[') OR contains(t, '＜') OR contains(t, '>>')
                   OR contains(t, ']~') OR contains(t, '##'))
         THEN false ELSE regexp_matches(
        CASE WHEN strlen(t) = length(t) THEN t ELSE regexp_replace(t,
            '[\x{00ad}\x{200b}\x{200e}\x{200f}\x{202a}-\x{202e}\x{2060}-\x{2064}\x{2066}-\x{206f}\x{feff}]', '', 'g') END,
        '(?im)[<＜]\s*/?[|｜][^<>＜＞|｜\n]{1,40}[|｜]?\s*[>＞]|[<＜][^<>＜＞|｜\s]{1,40}[|｜]\s*[>＞]'
        || '|[<＜]\s*/?\s*(?:start_of_turn|end_of_turn|(?:start|end)_of_(?:image|audio)|(?:bos|eos|pad|unk|s'
        || '|mask|cls|sep)(?:_token)?|sop|eop|eo[ah]|think|tools?|tool_(?:calls?|response)|(?:start|end)_function_\w+'
        || '|system|user|assistant|unused_?\d+|extra_id_\d+|reserved_\d+|special_\d+|image_soft_token'
        || '|seed:[\w/]+|fim_\w+)\s*[>＞]'
        || '|\[\s*/?\s*(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT'
        || '|MODEL_SETTINGS|CALL_ID|gMASK|sMASK)\s*\]'
        || '|\[\s*/?\s*(?-i:ARGS|IMG|IMG_BREAK|IMG_END|PREFIX|SUFFIX|MIDDLE|BEGIN_AUDIO|THINK|CLS|SEP|PAD'
        || '|UNK|MASK|BOS|EOS)\s*\]'
        || '|\[[|｜][^\[\]|｜\n]{1,40}[|｜]\]|\]~!?b[\[\]]|\[e~\['
        || '|<<\s*/?\s*SYS\s*>>|>>(?-i:QUESTION|ANSWER|INTRODUCTION|SUMMARY|COMMENT|DOMAIN|PREFIX)<<'
        || '|^[ \t]*#{2,4}[ \t]*(?:Instructions?|Response|Input|System|User|Assistant|Human)[ \t]*:')
    END;
