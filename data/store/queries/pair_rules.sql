-- What the rules decide on every made pair by its signals, its score and the thresholds in force: the
-- first rule that fires. Questions that people really asked only have to be safe, and what the user saved
-- is not judged. Only verdicts that differ from the stored ones are written.
CREATE OR REPLACE TEMP TABLE judged AS
WITH current AS (
    SELECT a.* FROM made_pairs a JOIN sources s ON s.id = a.source_id
    WHERE s.format <> 'disclosure' AND a.id NOT IN (
        SELECT subject_id FROM verdicts WHERE step = 'curate' AND rule = 'superseded')
), checks AS (
    SELECT c.source_id, x.*, q.quality,
           c.origin IN ('generated', 'template') AS written,
           c.origin NOT IN ('curated', 'disclosure') AS judged,
           threshold('rejects.max_words') * CASE WHEN question_cjk THEN 1.5 ELSE 1 END AS most_words,
           threshold('rejects.max_shared_run') * CASE WHEN lang = 'zh' THEN 2 ELSE 1 END AS most_run
    FROM current c JOIN pair_signals x ON x.pair_id = c.id JOIN pair_scores q ON q.pair_id = c.id
), found AS (
    SELECT source_id, pair_id, quality, list_filter([
        {'fires': judged AND NOT written AND question_words = 0, 'rule': 'question_empty',
         'reason': 'the other speaker says nothing before the answer'},
        {'fires': written AND question_words < threshold('rejects.min_words'), 'rule': 'question_short',
         'reason': 'word count ' || question_words || ', below ' || threshold('rejects.min_words')::BIGINT},
        {'fires': written AND question_words > floor(most_words), 'rule': 'question_long',
         'reason': 'word count ' || question_words || ', above ' || floor(most_words)::BIGINT},
        {'fires': written AND question_marks > threshold('rejects.max_question_marks'), 'rule': 'question_marks',
         'reason': 'number of question marks ' || question_marks || ', above '
             || threshold('rejects.max_question_marks')::BIGINT},
        {'fires': judged AND has_control, 'rule': 'question_control',
         'reason': 'it contains a control token of a chat format'},
        {'fires': written AND has_code, 'rule': 'question_machine', 'reason': 'it contains a URL or code'},
        {'fires': written AND names_style, 'rule': 'question_style', 'reason': 'it names a style of writing'},
        {'fires': written AND names_text, 'rule': 'question_refers', 'reason': 'it refers to the text itself'},
        {'fires': written AND points_nowhere, 'rule': 'question_dangling',
         'reason': 'its first word refers to something that it does not name'},
        {'fires': written AND NOT asks, 'rule': 'question_form', 'reason': 'it neither asks nor invites an answer'},
        {'fires': written AND question_cjk <> (lang IN ('zh', 'ja', 'ko')), 'rule': 'question_language',
         'reason': 'it is not written in ''' || lang || ''''},
        -- One sentence has few stop words, and related languages share many: only a clear lead counts.
        {'fires': written AND stop_lang_share > 0.1 + 2 * coalesce(own_stop_share,
             CASE WHEN lang IN ('en', 'de', 'fr', 'es', 'it', 'nl', 'pt') THEN 0 ELSE 1 END),
         'rule': 'question_language', 'reason': 'it reads as ''' || stop_lang || ''', not ''' || lang || ''''},
        {'fires': written AND shared_run > most_run, 'rule': 'question_run',
         'reason': shared_run || ' words in a row are also in the answer, more than ' || most_run::BIGINT},
        {'fires': written AND leak > threshold('rejects.max_leak'), 'rule': 'question_leak',
         'reason': format('it gives away {:.2f} of the answer, more than {}', leak, threshold('rejects.max_leak'))},
        -- People do ask what the answer shares no word with, so their questions are judged by other rules.
        {'fires': written AND quality < threshold('min_score'),
         'rule': 'low_score',
         'reason': 'quality ' || quality || ', below curate.min_score ' || threshold('min_score')}
        ], lambda f: f.fires)[1] AS fault
    FROM checks
)
SELECT pair_id AS subject_id, 'pairs' AS subject, fault.rule, false AS keep, quality AS score, fault.reason,
       'ask again with another model or prompt; the limits are under [curate] in the recipe' AS next_step,
       'curate' AS step, source_id
FROM found WHERE fault IS NOT NULL;

DELETE FROM verdicts
WHERE step = 'curate' AND subject = 'pairs' AND rule <> 'superseded'
  AND (subject_id, rule, reason, score) NOT IN (SELECT (subject_id, rule, reason, score) FROM judged);

INSERT INTO verdicts BY NAME
SELECT *, now() AS created_at FROM judged
ANTI JOIN (SELECT subject_id, rule FROM verdicts WHERE step = 'curate') USING (subject_id, rule);
