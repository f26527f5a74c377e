-- The refused rows, and what is flagged in the others.
INSERT INTO verdicts BY NAME
SELECT id AS subject_id, 'rows' AS subject, fault AS rule, false AS keep, source_row AS score,
       'row ' || source_row || ': ' || reason AS reason,
       row_remedy(fault) AS next_step,
       'extract' AS step, $source AS source_id, $now::TIMESTAMPTZ AS created_at
FROM exchanges WHERE source_id = $source AND fault IS NOT NULL AND fault <> 'doubtful';

INSERT INTO verdicts BY NAME
SELECT id AS subject_id, 'passages' AS subject, split_part(note, ':', 1) AS rule, true AS keep,
       split_part(note, ':', 2)::DOUBLE AS score, '' AS reason, 'nothing' AS next_step,
       'extract' AS step, $source AS source_id, $now::TIMESTAMPTZ AS created_at
FROM (
    SELECT id, unnest(string_split(notes, ' ')) AS note FROM exchanges
    WHERE source_id = $source AND notes IS NOT NULL AND fault IS NULL
);

-- What each flag tells the reader of `look coverage`.
UPDATE verdicts SET reason = notes.reason
FROM (VALUES
    ('joined_turns', 'turns of one side in a row were joined'),
    ('unanswered', 'the last turn of the row has no answer; it is left out'),
    ('untrained', 'answers with weight 0 in the dataset are left out'),
    ('thoughts', 'what a model thought before it answered is removed'),
    ('thought_alone', 'answers that contain only thoughts are left out, with their questions'),
    ('unasked', 'what the assistant says before the first question is left out'),
    ('tool_turns', 'calls of tools, what announces them, their results and their list are left out'),
    ('flag_control', 'chat control tokens; they are made harmless in every prompt'),
    ('flag_invisible', 'zero-width or bidirectional characters; they are removed from every prompt'),
    ('masked_secret', 'keys and passwords were replaced by [secret]; revoke them'),
    ('masked_email', 'mail addresses were replaced by [e-mail]'),
    ('masked_phone', 'phone numbers were replaced by [phone]'),
    ('masked_card', 'card numbers were replaced by [card]'),
    ('masked_account', 'account numbers were replaced by [account]')
) AS notes (rule, reason)
WHERE verdicts.rule = notes.rule AND verdicts.source_id = $source AND verdicts.reason = '';

-- Rows of one source that are the same to the letter: the first stands, the others are refused.
CREATE OR REPLACE TEMP TABLE twins AS
SELECT id, min(source_row) AS first_row FROM exchanges
WHERE source_id = $source AND fault IS NULL GROUP BY id HAVING count(*) > 1;

INSERT INTO verdicts BY NAME
SELECT row_id($source, e.source_row) AS subject_id,
       'rows' AS subject, 'row_twin' AS rule, false AS keep, e.source_row AS score,
       'row ' || e.source_row || ' repeats row ' || min(t.first_row) AS reason,
       min(e.id) AS beaten_by, 'nothing: the first one is kept' AS next_step, 'extract' AS step,
       $source AS source_id, $now::TIMESTAMPTZ AS created_at
FROM exchanges e JOIN twins t ON t.id = e.id AND e.source_row > t.first_row
WHERE e.source_id = $source
GROUP BY e.source_row;
