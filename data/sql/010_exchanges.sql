-- The rows of datasets are question and answer already. They stand once, in `exchanges`, and what
-- is cut from books and talks, asked and paired stands in tables of its own; the views of the
-- contract show both. A later migration that adds a column to one of the three tables makes its
-- view again.
CREATE TABLE exchanges (
    id VARCHAR NOT NULL, source_id VARCHAR NOT NULL, document_id VARCHAR NOT NULL,
    source_row BIGINT NOT NULL, ord INTEGER NOT NULL, thread_id VARCHAR, system VARCHAR,
    -- Compressing is most of the work of writing: zstd makes the file a third as large and takes
    -- twice as long, DuckDB's own choice half as large and three times as long.
    question VARCHAR USING COMPRESSION uncompressed, answer VARCHAR USING COMPRESSION uncompressed,
    score DOUBLE, head UBIGINT, fault VARCHAR, reason VARCHAR, notes VARCHAR
);

ALTER TABLE sources ADD COLUMN mix_share DOUBLE;

ALTER TABLE passages RENAME TO cut_passages;
ALTER TABLE questions RENAME TO asked_questions;
ALTER TABLE pairs RENAME TO made_pairs;
ALTER TABLE cut_passages ADD COLUMN source_row BIGINT;

-- Words as runs without white space; a Han, kana or Hangul character is one of its own, as
-- data/text.py counts. Counted when it is asked for: of a million rows it takes seconds.
CREATE MACRO words_of(t) AS
    CASE WHEN strlen(t) <> length(t) AND regexp_matches(t,
             '[\x{3040}-\x{30ff}\x{3400}-\x{4dbf}\x{4e00}-\x{9fff}\x{f900}-\x{faff}\x{ac00}-\x{d7af}]')
         THEN len(regexp_extract_all(t,
             '[\x{3040}-\x{30ff}\x{3400}-\x{4dbf}\x{4e00}-\x{9fff}\x{f900}-\x{faff}\x{ac00}-\x{d7af}]|[\pL\pN]+(?:[''’\-][\pL\pN]+)*'))
         ELSE len(regexp_extract_all(t, '\S+')) END;

CREATE VIEW passages AS
FROM cut_passages
UNION ALL BY NAME
SELECT id, source_id, document_id, source_row::INTEGER AS ord,
       coalesce(thread_id, id) AS group_id, answer AS text, words_of(answer) AS n_words,
       CASE WHEN question IS NULL THEN NULL ELSE 'assistant' END AS speaker,
       coalesce(thread_id, id) AS thread_id, system, source_row
FROM exchanges WHERE fault IS NULL;

-- A raw text has no question: it stands here with an empty one, and nobody is asked for another.
CREATE VIEW questions AS
FROM asked_questions
UNION ALL BY NAME
SELECT id, id AS passage_id, coalesce(question, '') AS text,
       CASE WHEN question IS NULL THEN 'completion' ELSE 'real' END AS type, 'given' AS origin
FROM exchanges WHERE fault IS NULL;

-- An exchange is a pair as it stands; whether it is kept, `curate` tells.
CREATE VIEW pairs AS
FROM made_pairs
UNION ALL BY NAME
SELECT id, source_id, id AS passage_id, id AS question_id, coalesce(thread_id, id) AS group_id,
       coalesce(thread_id, id) AS thread_id, ord, system, coalesce(question, '') AS question,
       answer, 'given' AS origin, score
FROM exchanges WHERE fault IS NULL;

-- What data/text.py makes harmless before any prompt and any ChatML. An ASCII text, told by its
-- bytes being as many as its characters, hides no invisible ones.
CREATE MACRO has_invisible(t) AS
    CASE WHEN strlen(t) = length(t) THEN false ELSE regexp_matches(t,
        '[\x{00ad}\x{200b}\x{200e}\x{200f}\x{202a}-\x{202e}\x{2060}-\x{2064}\x{2066}-\x{206f}\x{feff}\x{fff9}-\x{fffb}\x{e0000}-\x{e007f}]')
    END;
CREATE MACRO has_control(t) AS
    CASE WHEN NOT contains(t, '<') AND NOT contains(t, '[') THEN false ELSE regexp_matches(
        CASE WHEN strlen(t) = length(t) THEN t ELSE regexp_replace(t,
            '[\x{00ad}\x{200b}\x{200e}\x{200f}\x{202a}-\x{202e}\x{2060}-\x{2064}\x{2066}-\x{206f}\x{feff}]', '', 'g') END,
        '(?i)<\s*[|｜][^<>|｜\n]{1,40}[|｜]\s*>|<\s*/?\s*(?:start_of_turn|end_of_turn|start_of_image|bos|eos|pad|unk|s|mask|think|tool_call|tool_response|system|user|assistant)\s*>|\[\s*/?\s*(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\s*\]|<<\s*/?\s*SYS\s*>>')
    END;
CREATE MACRO row_id(source, number) AS left(md5(concat_ws(chr(31), source, 'row', number)), 16);
-- A plain row's text that has to be read by itself: it is blank, or a template's, or it speaks of
-- a picture that is not there.
CREATE MACRO is_template(t) AS
    contains(t, '{{') OR contains(t, '<image>') OR contains(t, '<audio>') OR contains(t, '<video>');
-- White space is Unicode's, as Python's str.strip has it: a row may hold an ideographic space alone.
CREATE MACRO is_blank(t) AS NOT regexp_matches(t,
    '[^\x{09}-\x{0d}\x{1c}-\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}]');
CREATE MACRO needs_look(t) AS is_blank(t) OR is_template(t);
CREATE MACRO is_json(t) AS
    coalesce(regexp_matches(t, '^(?:[\[{]|(?:true|false)$|-?[0-9][0-9.eE+\-]*$)'), false);
-- The words of a text for comparing: lower case, without marks.
CREATE MACRO normal_words(t) AS
    trim(lower(regexp_replace(nfc_normalize(t), '[^\pL\pN]+', ' ', 'g')));
-- The first three of them: cheap to find, and equal wherever all of them are. Few words give none.
-- DuckDB may hash otherwise in its next version: flows/ingest.py reads a dataset again then.
CREATE MACRO first_words(t) AS
    regexp_replace(lower(regexp_extract(t, '[\pL\pN]+[^\pL\pN]+[\pL\pN]+[^\pL\pN]+[\pL\pN]+')),
                   '[^\pL\pN]+', ' ', 'g');

CREATE MACRO head_of(question, answer) AS hash(first_words(question), first_words(answer));
