-- The macros and views of the workspace, created again whenever this file has changed. Each can be
-- pasted into any DuckDB client.

-- Words as runs without white space; a Han, kana or Hangul character is one of its own, as
-- data/text/words.py counts. Counted when it is asked for: of a million rows it takes seconds.
CREATE OR REPLACE MACRO words_of(t) AS
    CASE WHEN strlen(t) <> length(t) AND regexp_matches(t,
             '[\x{3040}-\x{30ff}\x{3400}-\x{4dbf}\x{4e00}-\x{9fff}\x{f900}-\x{faff}\x{ac00}-\x{d7af}]')
         THEN len(regexp_extract_all(t,
             '[\x{3040}-\x{30ff}\x{3400}-\x{4dbf}\x{4e00}-\x{9fff}\x{f900}-\x{faff}\x{ac00}-\x{d7af}]|[\pL\pN]+(?:[''’\-][\pL\pN]+)*'))
         ELSE len(regexp_extract_all(t, '\S+')) END;

-- What data/text/sanitizer.py makes harmless before any prompt and any ChatML. An ASCII text, told
-- by its bytes being as many as its characters, hides no invisible ones.
CREATE OR REPLACE MACRO has_invisible(t) AS
    CASE WHEN strlen(t) = length(t) THEN false ELSE regexp_matches(t,
        '[\x{00ad}\x{200b}\x{200e}\x{200f}\x{202a}-\x{202e}\x{2060}-\x{2064}\x{2066}-\x{206f}\x{feff}\x{fff9}-\x{fffb}\x{e0000}-\x{e007f}]')
    END;

-- The same pattern stands in data/text/sanitizer.py; a test compares the two.
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

CREATE OR REPLACE MACRO row_id(source, number) AS left(md5(concat_ws(chr(31), source, 'row', number)), 16);

-- What to do about a refused row. Where it has columns, one of them may be the wrong one.
CREATE OR REPLACE MACRO row_remedy(rule) AS CASE
    WHEN rule IN ('row_shape', 'row_empty') THEN 'correct that row, or name the columns with --map'
    WHEN rule IN ('row_thought', 'row_tool_call') THEN 'nothing, unless an answer belongs there'
    WHEN rule IN ('row_rejected', 'row_passed_over') THEN 'nothing'
    WHEN rule = 'row_placeholder' THEN 'give its value in the recipe, under sources.fill'
    ELSE 'correct that row' END;

-- A plain row's text that has to be read by itself: it is blank, or a template's, or it speaks of
-- a picture that is not there.
CREATE OR REPLACE MACRO is_template(t) AS
    contains(t, '{{') OR contains(t, '<image>') OR contains(t, '<audio>') OR contains(t, '<video>');

-- White space is Unicode's, as Python's str.strip has it: a row may hold an ideographic space alone.
CREATE OR REPLACE MACRO is_blank(t) AS NOT regexp_matches(t,
    '[^\x{09}-\x{0d}\x{1c}-\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}]');

CREATE OR REPLACE MACRO needs_look(t) AS is_blank(t) OR is_template(t);

-- An answer with a mark of a thought, as data/text/thoughts.py takes thoughts off; a test compares the two.
CREATE OR REPLACE MACRO has_thought(t) AS
    CASE WHEN NOT (contains(t, '<') OR contains(t, '&lt;') OR contains(t, '[') OR contains(t, '◁') OR contains(t, 'assistantfinal'))
         THEN false ELSE regexp_matches(t,
        '(?i)(?:<|&lt;)/?(?:seed:|mm:|longcat_|ant)?(?:think(?:ing)?(?:_process)?|thoughts?|reasoning(?:_content)?'
        || '|reflection|scratchpad|analysis|inner_monologue)(?:\s+\w+=[^<>]{0,80})?\s*(?:>|&gt;)|(?-i:\[/?THINK\])'
        || '|◁/?think▷|<\|(?:begin|end)_of_thought\|>|<\|(?:START|END)_THINKING\|>|<\|inner_(?:prefix|suffix)\|>'
        || '|<\|?channel\|?>|<unused9[45]>|<\|(?:start|end)_think\|>|<details type=.reasoning|assistantfinal')
    END;

-- An answer that may call a tool: all that extractors/tables/tool_turns.toml finds, and some more.
CREATE OR REPLACE MACRO has_tool_call(t) AS
    CASE WHEN NOT (contains(t, '<') OR contains(t, '[') OR contains(t, '{') OR contains(t, '`')
                   OR contains(t, '✿') OR contains(t, 'Action Input')
                   OR contains(t, 'Final Answer:') OR contains(t, ' RESPONSE:'))
         THEN false ELSE regexp_matches(t,
        '<(?:[a-z]+:)?(?:tool_|toolcall|use_mcp_tool|access_mcp_resource|function|invoke name=|start_function_call|observation)|<\|(?:tool|python_tag|action_start|START_ACTION)'
        || '|<｜tool|\[TOOL_(?:CALLS|RESULTS)\]|✿|```(?:tool_|action)|Action Input: ?|Final Answer:|(?:FUNCTION|TOOL) RESPONSE:'
        || '|^\s*\[\s*[A-Za-z_][\w ./-]*\(|^\s*[A-Za-z_][\w.-]*\n\{')
        OR regexp_matches(t, '(?s)^\s*(?:```(?:json)?\s*)?[\[{].*"(?:arguments|parameters|args|tool_input|action_input|kwargs)"')
    END;

CREATE OR REPLACE MACRO is_json(t) AS
    coalesce(regexp_matches(t, '^(?:[\[{]|(?:true|false)$|-?[0-9][0-9.eE+\-]*$)'), false);

-- The words of a text for comparing: lower case, without marks; a Han, kana or Hangul character is one.
CREATE OR REPLACE MACRO plain_words(t) AS
    CASE WHEN strlen(t) = length(t)
         THEN trim(regexp_replace(lower(t), ' *[^a-z0-9 ][^a-z0-9]*|  +', ' ', 'g'))
         ELSE trim(regexp_replace(lower(regexp_replace(nfc_normalize(t),
             '([\x{3040}-\x{30ff}\x{3400}-\x{4dbf}\x{4e00}-\x{9fff}\x{f900}-\x{faff}\x{ac00}-\x{d7af}])', ' \1 ', 'g')),
             ' *[^\pL\pN\pM ][^\pL\pN\pM]*|  +', ' ', 'g')) END;

-- The words of a question, where there is one, and of its answer.
CREATE OR REPLACE MACRO exchange_words(question, answer) AS
    coalesce(plain_words(question) || chr(31), '') || plain_words(answer);

-- The hashes of all runs of five units (hashes of words or characters); of a shorter text the one of all.
-- A list is named by an outer lambda: what an inner one refers to is computed for each element else.
CREATE OR REPLACE MACRO grams_of(units) AS list_transform([units], lambda list:
    list_transform(list[:greatest(len(list) - 4, 1)],
        lambda u, n: hash(u, list[n + 1], list[n + 2], list[n + 3], list[n + 4])))[1];

-- The least of every nine hashes in a row, once where it stays the least; of few hashes all.
CREATE OR REPLACE MACRO least_of_three(hashes, step) AS list_transform([hashes], lambda list:
    list_transform(list[:len(list) - 2 * step],
        lambda h, n: least(h, list[n + step], list[n + 2 * step])))[1];
CREATE OR REPLACE MACRO changes_of(hashes) AS list_transform([hashes], lambda list:
    list_filter(list, lambda h, n: h IS DISTINCT FROM list[n - 1]))[1];
CREATE OR REPLACE MACRO minima_of(grams) AS changes_of(
    CASE WHEN len(grams) < 18 THEN list_transform(grams, lambda h: (h >> 32)::UINTEGER)
         ELSE least_of_three(least_of_three(
             list_transform(grams, lambda h: (h >> 32)::UINTEGER), 1), 3) END);

-- The share of the smaller text's character 5-grams that the other one has.
CREATE OR REPLACE MACRO letters_of(t) AS
    list_distinct(grams_of(list_transform(string_split(plain_words(t), ''), lambda c: hash(c))));
CREATE OR REPLACE MACRO letters_shared(a, b) AS
    len(list_intersect(letters_of(a), letters_of(b))) / least(len(letters_of(a)), len(letters_of(b)));

-- Two short exchanges may be one: the numbers of the one stand in the other, and of question and answer
-- one has the same words and the other does not differ for the most part.
CREATE OR REPLACE MACRO numbers_of(t) AS list_distinct(regexp_extract_all(t, '[0-9]+'));
CREATE OR REPLACE MACRO same_numbers(a, b) AS
    len(list_intersect(numbers_of(a), numbers_of(b))) >= least(len(numbers_of(a)), len(numbers_of(b)));
CREATE OR REPLACE MACRO same_exchange(question, answer, other_question, other_answer) AS
    same_numbers(concat_ws(' ', question, answer), concat_ws(' ', other_question, other_answer))
    AND (question IS NULL
         OR (plain_words(answer) = plain_words(other_answer) AND letters_shared(question, other_question) >= 0.5)
         OR (plain_words(question) = plain_words(other_question) AND letters_shared(answer, other_answer) >= 0.5));

-- Who asks: people, an LLM or a template.
CREATE OR REPLACE MACRO tier_of(origin) AS CASE origin WHEN 'generated' THEN 1 WHEN 'template' THEN 2 ELSE 0 END;

-- The hashes of all runs of so many words, given by their hashes; none of a shorter text.
CREATE OR REPLACE MACRO runs_of(units, size) AS list_transform([units], lambda list:
    list_transform(range(len(list) - size + 1), lambda n: hash(list[n + 1:n + size])))[1];

CREATE OR REPLACE MACRO question_id(passage, t) AS left(md5(passage || chr(31) || t), 16);

CREATE OR REPLACE VIEW passages AS
FROM cut_passages
UNION ALL BY NAME
SELECT id, source_id, document_id, source_row::INTEGER AS ord,
       coalesce(thread_id, id) AS group_id, answer AS text, words_of(answer) AS n_words,
       CASE WHEN question IS NULL THEN NULL ELSE 'assistant' END AS speaker,
       coalesce(thread_id, id) AS thread_id, system, source_row
FROM exchanges WHERE fault IS NULL;

CREATE OR REPLACE VIEW questions AS
FROM asked_questions
UNION ALL BY NAME
SELECT id, id AS passage_id, coalesce(question, '') AS text,
       CASE WHEN question IS NULL THEN 'completion' ELSE 'real' END AS type, 'given' AS origin
FROM exchanges WHERE fault IS NULL;

-- Every pair by itself, as it was asked: what `compose` takes.
CREATE OR REPLACE VIEW own_pairs AS
SELECT m.* REPLACE (coalesce(m.verbatim, m.answer) AS verbatim, s.score AS score)
FROM made_pairs m LEFT JOIN pair_scores s ON s.pair_id = m.id
UNION ALL BY NAME
SELECT id, source_id, id AS passage_id, id AS question_id, coalesce(thread_id, id) AS group_id,
       coalesce(thread_id, id) AS thread_id, ord, system, coalesce(question, '') AS question,
       e.answer, 'given' AS origin, s.score, e.answer AS verbatim, e.tool_turns
FROM exchanges e LEFT JOIN pair_scores s ON s.pair_id = e.id WHERE fault IS NULL;

-- The same with the follow-ups: such a pair stands in the thread that it goes on in, with the
-- question that leads to it; `own_question` is the one that it has where it stands alone. `answer`
-- is what is learnt, `verbatim` what was said or written: they differ where it was polished.
CREATE OR REPLACE VIEW pairs AS
SELECT a.* REPLACE (
           coalesce(f.thread_id, a.thread_id) AS thread_id, coalesce(f.ord, a.ord) AS ord,
           coalesce(f.question, a.question) AS question),
       CASE WHEN f.pair_id IS NOT NULL THEN a.question END AS own_question
FROM own_pairs a LEFT JOIN follow_ups f ON f.pair_id = a.id;

-- The pages of books that blocks stand on. A page that gave none is known by its verdict alone.
CREATE OR REPLACE VIEW pages AS
SELECT DISTINCT b.document_id || '-' || page AS id, d.source_id, b.document_id, page
FROM (
    SELECT document_id, unnest(range(page, coalesce(page_last, page) + 1)) AS page
    FROM blocks WHERE page IS NOT NULL
) b JOIN documents d ON d.id = b.document_id;

-- What a thing was dropped by: its first verdict that does not keep it.
CREATE OR REPLACE VIEW dropped AS
SELECT v.subject, v.subject_id, v.rule, v.reason, v.score, v.beaten_by, v.next_step, v.step,
       v.source_id, s.title AS source,
       coalesce(b.text, p.text, a.question, d.title) AS text,
       coalesce(b.page, p.page_first, ap.page_first) AS page,
       coalesce(b.start_seconds, p.start_seconds, ap.start_seconds) AS start_seconds,
       v.created_at
FROM verdicts v
LEFT JOIN sources s ON s.id = v.source_id
LEFT JOIN blocks b ON v.subject = 'blocks' AND b.id = v.subject_id
LEFT JOIN passages p ON v.subject = 'passages' AND p.id = v.subject_id
LEFT JOIN pairs a ON v.subject = 'pairs' AND a.id = v.subject_id
LEFT JOIN passages ap ON ap.id = a.passage_id
LEFT JOIN documents d ON v.subject = 'documents' AND d.id = v.subject_id
WHERE NOT v.keep;

-- The pairs that nothing speaks against, with where their answers stand.
CREATE OR REPLACE VIEW kept AS
SELECT a.id, s.title AS source, a.origin, a.score, a.question, a.answer, p.chapter,
       p.page_first, p.page_last, p.start_seconds, p.n_words, a.source_id, a.passage_id,
       a.thread_id, a.ord, a.verbatim
FROM pairs a
JOIN passages p ON p.id = a.passage_id
JOIN sources s ON s.id = a.source_id
WHERE s.withdrawn_at IS NULL
  AND NOT EXISTS (
    SELECT 1 FROM verdicts v WHERE v.subject = 'pairs' AND v.subject_id = a.id AND NOT v.keep
);

-- From a turn of a conversation back to the page or the second, the prompt and the model.
CREATE OR REPLACE VIEW lineage AS
SELECT c.id AS conversation_id, c.dataset_id, c.split, t.turn, a.id AS pair_id, a.score,
       a.question, a.answer, q.origin, q.type, q.model, q.prompt_version,
       p.id AS passage_id, p.chapter, p.page_first, p.page_last, p.start_seconds, p.end_seconds,
       p.speaker, d.title AS document, s.title AS source, s.location, s.sha256, s.rights,
       s.id AS source_id, q.id AS question_id, d.id AS document_id
FROM conversations c
CROSS JOIN LATERAL (
    SELECT unnest(c.pair_ids) AS pair_id, generate_subscripts(c.pair_ids, 1) AS turn
) t
JOIN pairs a ON a.id = t.pair_id
JOIN questions q ON q.id = a.question_id
JOIN passages p ON p.id = a.passage_id
JOIN documents d ON d.id = p.document_id
JOIN sources s ON s.id = a.source_id;

-- Every source's chapters in reading order: pages, words, passages kept and dropped, and what was
-- decided about whose voice they are in. A dataset is one row. Words are counted as the passages'
-- are: each Han, kana or Hangul character is one.
CREATE OR REPLACE VIEW outline AS
WITH cut AS (
    -- A section begins where the chapter changes.
    -- A running head or a page's number belongs to the section that it stands in.
    SELECT b.* EXCLUDE (before),
           sum(CASE WHEN own IS NULL OR before IS NOT DISTINCT FROM own THEN 0 ELSE 1 END)
               OVER (PARTITION BY document_id ORDER BY ord) AS section
    FROM (
        SELECT *, lag(own IGNORE NULLS) OVER (PARTITION BY document_id ORDER BY ord) AS before
        FROM (
            SELECT b.*, d.source_id, d.title AS document,
                   CASE WHEN b.kind IN ('heading', 'paragraph', 'quote', 'turn')
                        THEN coalesce(b.chapter, '')
                        WHEN b.kind IN ('boilerplate', 'contents') THEN b.chapter END AS own
            FROM blocks b
            JOIN documents d ON d.id = b.document_id
            JOIN sources s ON s.id = d.source_id
            WHERE s.kind <> 'dataset' AND s.withdrawn_at IS NULL
        )
    ) b
), judged AS (
    SELECT v.subject_id, v.keep, v.rule, v.reason
    FROM verdicts v
    WHERE v.subject = 'blocks'
      AND v.rule IN ('other_voice', 'apparatus', 'voice_unsure', 'voice_comment', 'included_chapter',
                     'excluded_chapter')
), of_chapter AS (
    SELECT c.document_id, c.section, any_value(c.source_id) AS source_id,
           any_value(c.document) AS document, nullif(any_value(c.own), '') AS chapter,
           min(c.ord) AS ord, min(c.page) AS page_first,
           max(coalesce(c.page_last, c.page)) AS page_last,
           count(*) FILTER (c.kind IN ('paragraph', 'quote', 'turn')) AS texts,
           coalesce(sum(len(regexp_extract_all(c.text,
               '[\x{3040}-\x{30ff}\x{3400}-\x{4dbf}\x{4e00}-\x{9fff}\x{f900}-\x{faff}\x{ac00}-\x{d7af}]|[^\s\x{3040}-\x{30ff}\x{3400}-\x{4dbf}\x{4e00}-\x{9fff}\x{f900}-\x{faff}\x{ac00}-\x{d7af}]*[\pL\pN][^\s—–\x{3040}-\x{30ff}\x{3400}-\x{4dbf}\x{4e00}-\x{9fff}\x{f900}-\x{faff}\x{ac00}-\x{d7af}]*')))
               FILTER (c.kind IN ('paragraph', 'quote', 'turn')), 0)::BIGINT AS words,
           count(DISTINCT c.id) FILTER (j.rule IN ('other_voice', 'apparatus', 'excluded_chapter')) AS aside,
           -- One reason is told: the one that took the most blocks, a drop before a flag.
           mode(j.rule) FILTER (NOT j.keep) AS drop_rule,
           mode(j.reason) FILTER (NOT j.keep) AS drop_reason,
           count(DISTINCT j.reason) FILTER (NOT j.keep) AS drop_reasons,
           min(j.rule) FILTER (j.keep AND j.rule <> 'voice_comment') AS flag,
           min(j.reason) FILTER (j.keep AND j.rule <> 'voice_comment') AS flag_reason,
           count(*) FILTER (j.rule = 'voice_comment') AS comments
    FROM cut c LEFT JOIN judged j ON j.subject_id = c.id
    GROUP BY c.document_id, c.section
), found AS (
    SELECT c.document_id, c.section, count(DISTINCT p.id) AS passages,
           count(DISTINCT p.id) FILTER (EXISTS (
               SELECT 1 FROM verdicts v
               WHERE v.subject = 'passages' AND v.subject_id = p.id AND NOT v.keep
           )) AS dropped
    FROM (SELECT id, document_id, unnest(block_ids) AS block_id FROM passages) p
    JOIN cut c ON c.id = p.block_id
    GROUP BY c.document_id, c.section
)
SELECT s.title AS source, o.document, coalesce(o.chapter, '(untitled)') AS chapter,
       CASE WHEN o.page_first = o.page_last THEN o.page_first::VARCHAR
            ELSE o.page_first || '-' || o.page_last END AS pages,
       o.words, coalesce(f.passages, 0) - coalesce(f.dropped, 0) AS kept,
       coalesce(f.dropped, 0) AS dropped,
       CASE WHEN flag = 'included_chapter' THEN 'kept by your recipe'
            WHEN drop_rule = 'excluded_chapter' THEN 'dropped by your recipe'
            WHEN texts = 0 THEN 'no prose'
            WHEN aside > 0 AND aside >= texts THEN 'dropped: ' || drop_rule
            WHEN aside > 0 THEN 'kept, except ' || aside || ' of ' || texts || ' blocks'
            WHEN flag = 'voice_unsure' THEN 'kept, but doubtful'
            WHEN coalesce(f.passages, 0) = 0 THEN 'no passage: `look dropped` tells why'
            ELSE 'kept' END AS decision,
       concat_ws('; ',
           CASE WHEN flag = 'included_chapter' THEN NULL ELSE drop_reason END,
           CASE WHEN drop_reasons > 1 AND aside > 0 THEN (drop_reasons - 1) || ' more' END,
           CASE WHEN flag = 'voice_unsure' THEN flag_reason END,
           CASE WHEN comments > 0 THEN 'comments by others cut out: ' || comments END) AS reason,
       s.id AS source_id, o.document_id, o.ord
FROM of_chapter o
JOIN sources s ON s.id = o.source_id
LEFT JOIN found f ON f.document_id = o.document_id AND f.section = o.section
UNION ALL BY NAME
SELECT s.title AS source, (SELECT count(*) FROM documents d WHERE d.source_id = s.id)
           || ' conversations' AS document, NULL AS chapter,
       sum(p.n_words)::BIGINT AS words,
       count(*) FILTER (NOT lost) AS kept, count(*) FILTER (lost) AS dropped,
       'kept' AS decision, '' AS reason, s.id AS source_id, 0 AS ord
FROM sources s
JOIN (
    SELECT source_id, n_words, EXISTS (
        SELECT 1 FROM verdicts v
        WHERE v.subject = 'passages' AND v.subject_id = p.id AND NOT v.keep
    ) AS lost FROM passages p
) p ON p.source_id = s.id
WHERE s.kind = 'dataset' AND s.withdrawn_at IS NULL
GROUP BY s.id, s.title;

-- Per source and table: found = kept + dropped, and the drops by rule. A thing that several rules
-- speak against counts once, under the first; what could not even become a row (a bad line, an
-- unreadable page) counts by its verdict. `flags` is what was kept and marked.
-- Candidates are the questions that came back: the kept ones are asked.
CREATE OR REPLACE VIEW coverage AS
WITH found AS (
    SELECT id AS source_id, 'sources' AS subject, id FROM sources
    UNION
    SELECT source_id, 'documents', id FROM documents
    UNION
    SELECT source_id, 'pages', id FROM pages
    UNION
    SELECT d.source_id, 'blocks', b.id FROM blocks b JOIN documents d ON d.id = b.document_id
    UNION
    SELECT source_id, 'rows', coalesce(thread_id, id) FROM exchanges WHERE fault IS NULL
    UNION
    SELECT source_id, 'passages', id FROM passages
    UNION
    SELECT p.source_id, 'candidates', q.id
    FROM asked_questions q JOIN cut_passages p ON p.id = q.passage_id
    WHERE q.origin = 'generated' AND q.nth IS NOT NULL
    UNION
    SELECT source_id, 'pairs', id FROM pairs
    UNION
    SELECT source_id, subject, subject_id FROM verdicts
    WHERE NOT keep AND subject IN ('documents', 'pages', 'blocks', 'rows', 'candidates')
      AND rule <> 'withdrawn'
), lost AS (
    SELECT subject, subject_id, arg_min(rule, (created_at, rule)) AS rule
    FROM verdicts WHERE NOT keep GROUP BY subject, subject_id
), counted AS (
    SELECT f.source_id, f.subject, l.rule, count(*) AS n
    FROM found f LEFT JOIN lost l ON l.subject = f.subject AND l.subject_id = f.id
    GROUP BY f.source_id, f.subject, l.rule
), marked AS (
    SELECT source_id, subject, string_agg(rule || ' ' || n, ', ' ORDER BY n DESC, rule) AS flags
    FROM (
        SELECT source_id, subject, rule, count(*) AS n FROM verdicts WHERE keep
        GROUP BY source_id, subject, rule
    ) GROUP BY source_id, subject
)
SELECT s.id AS source_id, s.title AS source, c.subject,
       sum(n)::BIGINT AS found,
       coalesce(sum(n) FILTER (rule IS NULL), 0)::BIGINT AS kept,
       coalesce(sum(n) FILTER (rule IS NOT NULL), 0)::BIGINT AS dropped,
       string_agg(rule || ' ' || n, ', ' ORDER BY n DESC, rule) FILTER (rule IS NOT NULL) AS by_rule,
       any_value(m.flags) AS flags
FROM counted c JOIN sources s ON s.id = c.source_id
LEFT JOIN marked m ON m.source_id = c.source_id AND m.subject = c.subject
GROUP BY s.id, s.title, c.subject
ORDER BY s.title,
         list_position(['sources', 'documents', 'pages', 'rows', 'blocks', 'passages',
                        'candidates', 'pairs'], c.subject);

-- What the interviews have cost, by run and source.
CREATE OR REPLACE VIEW spent AS
SELECT r.run_id, min(r.created_at) AS started_at, s.title AS source, r.purpose, r.model,
       count(*)::BIGINT AS requests, sum(r.attempts)::BIGINT AS attempts,
       sum(r.tokens_in)::BIGINT AS tokens_in, sum(r.tokens_out)::BIGINT AS tokens_out,
       sum(r.cost_usd) AS cost_usd, coalesce(bool_or(r.estimated), false) AS estimated
FROM requests r LEFT JOIN sources s ON s.id = r.source_id
GROUP BY r.run_id, s.title, r.purpose, r.model
ORDER BY started_at, source;

-- How far each training is, for whoever looks while it goes on: written at each save, and every
-- half minute. What is left and what it takes stand under step 0 and are replaced each time.
CREATE OR REPLACE VIEW trainings AS
SELECT r.id AS run_id, r.base_model, r.status, r.started_at,
       max(m.step) FILTER (m.name = 'loss') AS step,
       any_value(m.value::INTEGER) FILTER (m.name = 'total_steps') AS total_steps,
       arg_max(m.value, m.step) FILTER (m.name = 'loss') AS loss,
       arg_max(m.value, m.step) FILTER (m.name = 'eval_loss') AS held_out_loss,
       arg_max(m.value, m.step) FILTER (m.name = 'tokens_per_second') AS tokens_per_second,
       any_value(m.value) FILTER (m.name = 'memory_mb') AS memory_mb,
       any_value(m.value::INTEGER) FILTER (m.name = 'seconds_left' AND r.status = 'training')
           AS seconds_left
FROM runs r LEFT JOIN metrics m ON m.run_id = r.id
GROUP BY ALL;

-- What lies just under or over a threshold: within a tenth of it, or one word or mark.
CREATE OR REPLACE VIEW near_misses AS
WITH checks AS (
    SELECT 'passages' AS subject, s.passage_id AS subject_id, p.source_id, p.text, unnest([
        {'name': 'gates.min_stop_share', 'signal': 'stop_share', 'value': s.stop_share},
        {'name': 'gates.min_zlib_ratio', 'signal': 'zlib_ratio', 'value': s.zlib_ratio},
        {'name': 'gates.max_zlib_ratio', 'signal': 'zlib_ratio', 'value': s.zlib_ratio},
        {'name': 'gates.min_letter_share', 'signal': 'letter_share', 'value': s.letter_share},
        {'name': 'gates.max_digit_share', 'signal': 'digit_share', 'value': s.digit_share},
        {'name': 'gates.min_type_token', 'signal': 'type_token', 'value': s.type_token},
        {'name': 'gates.max_repeated_share', 'signal': 'repeated_share', 'value': s.repeated_share},
        {'name': 'gates.max_quoted_share', 'signal': 'quoted_share',
         'value': CASE WHEN x.kind NOT IN ('podcast', 'chat') THEN s.quoted_share END}]) AS c
    FROM passage_signals s JOIN cut_passages p ON p.id = s.passage_id
    JOIN sources x ON x.id = p.source_id
    WHERE x.format NOT IN ('chat', 'disclosure') AND s.n_words >= threshold('gates.signal_words')
    UNION ALL
    SELECT 'pairs', s.pair_id, a.source_id, a.question, unnest([
        {'name': 'rejects.min_words', 'signal': 'question_words', 'value': s.question_words},
        {'name': 'rejects.max_words', 'signal': 'question_words', 'value': s.question_words},
        {'name': 'rejects.max_question_marks', 'signal': 'question_marks', 'value': s.question_marks},
        {'name': 'rejects.max_shared_run', 'signal': 'shared_run', 'value': s.shared_run},
        {'name': 'rejects.max_leak', 'signal': 'leak', 'value': s.leak},
        {'name': 'min_score', 'signal': 'quality', 'value': q.quality}])
    FROM pair_signals s JOIN made_pairs a ON a.id = s.pair_id JOIN pair_scores q ON q.pair_id = s.pair_id
    WHERE a.origin IN ('generated', 'template')
)
SELECT c.subject, c.subject_id, x.title AS source, c.c.signal AS signal, c.c.value AS value,
       t.name AS threshold, t.value AS "limit", round(abs(c.c.value - t.value), 4) AS distance,
       CASE WHEN contains(t.name, 'min_') THEN c.c.value < t.value ELSE c.c.value > t.value END AS outside,
       c.text, c.source_id
FROM checks c JOIN thresholds t ON t.name = c.c.name JOIN sources x ON x.id = c.source_id
WHERE abs(c.c.value - t.value) <= CASE WHEN t.value >= 2 THEN 1 ELSE 0.1 * t.value END
ORDER BY t.name, distance;

-- How many passages and pairs survive each step, per source and in all, without what is withdrawn or
-- only an earlier dataset holds.
CREATE OR REPLACE VIEW funnel AS
WITH lost AS (
    SELECT subject, subject_id, min(CASE
               WHEN step = 'withdraw' OR rule = 'superseded' THEN 1
               WHEN contains(rule, 'duplicate') THEN 3
               WHEN step = 'grade' THEN 4 ELSE 2 END) AS at_step
    FROM verdicts
    WHERE NOT keep AND subject IN ('passages', 'pairs') AND step NOT IN ('compose', 'ask')
    GROUP BY subject, subject_id
), things AS (
    SELECT 'passages' AS subject, id, source_id, id AS passage_id FROM passages
    UNION ALL SELECT 'pairs', id, source_id, passage_id FROM pairs
), reached AS (
    SELECT t.*, coalesce(l.at_step, 9) AS at_step
    FROM things t LEFT JOIN lost l ON l.subject = t.subject AND l.subject_id = t.id
    WHERE l.at_step IS DISTINCT FROM 1
), steps AS (
    SELECT * FROM (VALUES (1, 'passages', 0, 'passages'), (2, 'passages', 2, 'pass the gates'),
        (3, 'passages', 3, 'are not duplicates'), (5, 'pairs', 0, 'pairs'), (6, 'pairs', 2, 'pass the rules'),
        (7, 'pairs', 3, 'are not duplicates'), (8, 'pairs', 4, 'pass the judge'))
        s(place, subject, after, step)
), counted AS (
    SELECT r.source_id, s.place, s.subject, s.step, count(*) FILTER (r.at_step > s.after) AS n
    FROM reached r JOIN steps s ON s.subject = r.subject GROUP BY ALL
    UNION ALL
    SELECT source_id, 4, 'passages', 'have a pair', count(DISTINCT passage_id) FROM reached
    WHERE subject = 'pairs' GROUP BY source_id
    UNION ALL
    SELECT source_id, 9, 'pairs', 'are in the newest dataset', count(*) FROM reached
    WHERE subject = 'pairs' AND id IN (
        SELECT unnest(pair_ids) FROM conversations
        WHERE dataset_id = (SELECT id FROM datasets ORDER BY used_at DESC LIMIT 1))
    GROUP BY source_id
)
SELECT CASE WHEN c.source_id IS NULL THEN 'all sources' ELSE any_value(s.title) END AS source, c.subject, c.step, sum(c.n)::BIGINT AS n,
       c.source_id, c.place
FROM counted c JOIN sources s ON s.id = c.source_id
GROUP BY GROUPING SETS ((c.source_id, c.place, c.subject, c.step), (c.place, c.subject, c.step))
ORDER BY c.source_id IS NOT NULL, c.source_id, c.place;

-- The settings that each dataset version was composed under, one a row.
CREATE OR REPLACE VIEW recipe_keys AS
SELECT d.id AS dataset_id, t.fullkey[3:] AS key, t.atom::VARCHAR AS value
FROM datasets d, json_tree(d.recipe) t WHERE t.atom IS NOT NULL;

-- The dataset versions, the last composed first, with what changed in the recipe since the one before.
CREATE OR REPLACE VIEW versions AS
WITH changed AS (
    SELECT d.id, k.key, a.value AS before, b.value AS after
    FROM datasets d
    JOIN datasets p ON p.id = d.parent_id AND p.recipe IS NOT NULL AND d.recipe IS NOT NULL
    CROSS JOIN (SELECT DISTINCT key FROM recipe_keys) k
    LEFT JOIN recipe_keys a ON a.dataset_id = p.id AND a.key = k.key
    LEFT JOIN recipe_keys b ON b.dataset_id = d.id AND b.key = k.key
    WHERE a.value IS DISTINCT FROM b.value
)
SELECT d.id, d.created_at, d.used_at, d.n_train AS train, d.n_validation AS validation, d.n_test AS test,
       d.parent_id AS parent,
       coalesce(string_agg(key || ': ' || coalesce(before, 'none') || ' -> '
                           || coalesce(after, 'none'), ', ' ORDER BY key), '') AS recipe_changes
FROM datasets d LEFT JOIN changed c ON c.id = d.id
GROUP BY ALL ORDER BY d.used_at DESC;
