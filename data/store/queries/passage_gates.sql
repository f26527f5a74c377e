-- What the gates decide on every passage by its signals and the thresholds in force: at most one drop,
-- and flags. Only verdicts that differ from the stored ones are written.
CREATE OR REPLACE TEMP TABLE gated AS
WITH checks AS (
    SELECT p.source_id, s.*, s.n_words >= threshold('gates.signal_words') AS long,
           CASE WHEN x.kind IN ('book', 'text', 'dataset') THEN quoted_share END AS speech
    FROM passage_signals s JOIN cut_passages p ON p.id = s.passage_id
    JOIN sources x ON x.id = p.source_id
    WHERE x.format NOT IN ('chat', 'disclosure') AND x.withdrawn_at IS NULL
), found AS (
    SELECT source_id, passage_id, keep, unnest(list_filter(faults, lambda f: f.fires)[: most]) AS fault
    FROM (
        SELECT source_id, passage_id, false AS keep, 1 AS most, [
            {'fires': is_blank, 'rule': 'empty', 'score': 0.0, 'reason': 'it has no text',
             'next_step': NULL},
            {'fires': detected_lang NOT IN (lang, 'und') AND lang <> 'und', 'rule': 'language',
             'score': NULL, 'reason': 'it reads as ''' || detected_lang || ''', but the persona''s language is '''
                 || lang || '''',
             'next_step': 'name the persona''s language with --lang, or take the source out of this workspace'},
            below('few_letters', letter_share, 'min_letter_share', 'share of letters below', long),
            above('digits', digit_share, 'max_digit_share', 'share of digits above', long),
            above('repetition', repeated_share, 'max_repeated_share', 'share of words in repeated runs above', long),
            above('quoted', speech, 'max_quoted_share', 'share of text in quotation marks above', long),
            below('few_stop_words', stop_share, 'min_stop_share', 'share of function words below', long),
            below('compressible', zlib_ratio, 'min_zlib_ratio', 'compression ratio (zlib) below', long),
            above('incompressible', zlib_ratio, 'max_zlib_ratio', 'compression ratio (zlib) above', long),
            below('few_types', type_token, 'min_type_token', 'share of different words below', long)] AS faults
        FROM checks
        UNION ALL
        SELECT source_id, passage_id, true, 9, [
            {'fires': has_control, 'rule': 'flag_control', 'score': NULL,
             'reason': 'chat control tokens, made harmless in every prompt', 'next_step': NULL},
            {'fires': NOT is_blank AND upper_share > threshold('gates.max_upper_share'), 'rule': 'flag_upper',
             'score': upper_share, 'reason': 'many capital letters', 'next_step': NULL},
            {'fires': NOT is_blank AND NOT sentence_words BETWEEN threshold('gates.min_sentence_words')
                 AND threshold('gates.max_sentence_words'), 'rule': 'flag_sentences',
             'score': sentence_words, 'reason': 'sentences of unusual length', 'next_step': NULL}]
        FROM checks
    )
)
SELECT passage_id AS subject_id, 'passages' AS subject, fault.rule, keep, round(fault.score, 4) AS score,
       fault.reason || coalesce(format(' ({:.3f})', fault.score), '') AS reason,
       CASE WHEN keep THEN 'nothing'
            WHEN fault.rule = 'quoted'
            THEN 'raise curate.gates.max_quoted_share to keep passages of dialogue'
            ELSE coalesce(fault.next_step, 'the limits are under [curate.gates] in the recipe') END
           AS next_step,
       'gate' AS step, source_id
FROM found;

DELETE FROM verdicts
WHERE step = 'gate' AND subject_id IN (SELECT passage_id FROM passage_signals)
  AND rule <> 'replaced' AND source_id IN (SELECT id FROM sources WHERE withdrawn_at IS NULL)
  AND (subject_id, rule, reason) NOT IN (SELECT (subject_id, rule, reason) FROM gated);

INSERT INTO verdicts BY NAME
SELECT *, now() AS created_at FROM gated
ANTI JOIN (SELECT subject_id, rule FROM verdicts WHERE step = 'gate') USING (subject_id, rule);
