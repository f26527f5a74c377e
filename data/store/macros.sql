-- The macros that signals are measured with: words, stems and what a question holds. Each can be
-- pasted into any DuckDB client. Word characters are Unicode's letters and numbers.

-- How many Han, kana or Hangul characters a text has.
CREATE OR REPLACE MACRO cjk_count(t) AS CASE WHEN strlen(t) = length(t) THEN 0 ELSE length(t)
    - length(regexp_replace(t, '[\x{3040}-\x{30ff}\x{3400}-\x{4dbf}\x{4e00}-\x{9fff}\x{f900}-\x{faff}\x{ac00}-\x{d7af}]', '', 'g')) END;

CREATE OR REPLACE MACRO letter_count(t) AS length(regexp_replace(t, '\PL+', '', 'g'));

-- At least a third of the letters are Han, kana or Hangul.
CREATE OR REPLACE MACRO is_cjk(t) AS
    CASE WHEN strlen(t) = length(t) THEN false
         ELSE cjk_count(t) > 0 AND cjk_count(t) * 3 >= letter_count(t) END;

-- The words in lower case and in order, as data/text/words.py cuts them.
CREATE OR REPLACE MACRO tokens_of(t) AS
    CASE WHEN strlen(t) = length(t)
         THEN regexp_extract_all(lower(t), '[a-z0-9]+(?:[''\-][a-z0-9]+)*')
         ELSE regexp_extract_all(lower(replace(t, '’', '''')),
             '[\x{3040}-\x{30ff}\x{3400}-\x{4dbf}\x{4e00}-\x{9fff}\x{f900}-\x{faff}\x{ac00}-\x{d7af}]|[^\pM\pP\pS\pZ\pC\x{3040}-\x{30ff}\x{3400}-\x{4dbf}\x{4e00}-\x{9fff}\x{f900}-\x{faff}\x{ac00}-\x{d7af}]+(?:[''\-][^\pM\pP\pS\pZ\pC\x{3040}-\x{30ff}\x{3400}-\x{4dbf}\x{4e00}-\x{9fff}\x{f900}-\x{faff}\x{ac00}-\x{d7af}]+)*')
    END;

-- A word without its most common ending: the longest one that leaves three letters.
CREATE OR REPLACE MACRO stem_of(word, lang) AS
    CASE WHEN lang = 'zh' OR length(word) < 5 OR (lang <> 'en' AND length(word) < 7) THEN word
         WHEN lang <> 'en' THEN left(word, 6)
         ELSE coalesce(nullif(rtrim(regexp_replace(regexp_replace(word, '''s?$', ''),
                  '^(.{3,}?)(?:ingly|edly|ness|ment|ing|ies|ied|ed|es|ly|s)$', '\1'), 'ey'), ''), word) END;

CREATE OR REPLACE MACRO after_first_word(run) AS substr(run, strpos(substr(run, 2), ' ') + 1);

-- The longest run of words that stands in both texts. Most share no two or three words in a row, which
-- is quick to tell. In the others, the run that ends at a word of the first is at most one word longer
-- than the longest before it: `run` has that many words.
CREATE OR REPLACE MACRO longest_run(tokens, others) AS
    CASE WHEN NOT list_has_any(tokens, others) THEN 0
         WHEN NOT list_has_any(list_zip(tokens[:-2], tokens[2:]), list_zip(others[:-2], others[2:])) THEN 1
         WHEN NOT list_has_any(list_zip(tokens[:-3], tokens[2:-2], tokens[3:]),
                               list_zip(others[:-3], others[2:-2], others[3:])) THEN 2
         ELSE len(string_split(list_reduce(tokens, lambda run, word:
             CASE WHEN contains(' ' || array_to_string(others, ' ') || ' ', run || word || ' ')
                  THEN run || word || ' '
                  ELSE after_first_word(run || word || ' ') END, ' '), ' ')) - 2 END;

CREATE OR REPLACE MACRO ends_sentence(t) AS
    regexp_matches(right(rtrim(t, E' \t\n\r\x0B\x0C\u00a0\u3000'), 40),
        '[.!?…。！？](?:["''”’“»«›‹)\]]|[ \x{a0}\x{202f}]»)*[」』）》】”’]*$');

-- A Chinese text of some length with practically no sentence marks.
CREATE OR REPLACE MACRO is_unmarked(t) AS
    CASE WHEN strlen(t) = length(t) OR cjk_count(t) < 100 THEN false
         ELSE is_cjk(t) AND len(regexp_extract_all(t, '[。！？…．｡!?.]')) * 300 <= cjk_count(t) END;

-- A question that holds a URL or code.
CREATE OR REPLACE MACRO has_code(t) AS regexp_matches(t,
    '(?i)https?://|www\.|```|</?[a-z]+>|\{\{|\}\}|\bdef \w+\(|=>|;\s*$');

-- A question that names a style of writing.
CREATE OR REPLACE MACRO names_style(t) AS regexp_matches(t,
    '(?i)\bin (?:the|your) (?:style|voice|tone|manner) of\b|\bwrite (?:like|as)\b|\bstyle of\b'
    || '|的(?:文风|文風|风格|風格)');

-- A question that speaks of the text itself.
CREATE OR REPLACE MACRO names_text(t) AS regexp_matches(t,
    '(?i)\b(?:the|this|that|your|these)\s+'
    || '(?:passage|text|author|chapter|book|excerpt|paragraph|memoir)s?\b'
    || '|\bmentioned above\b|\bas (?:described|mentioned|stated)\b'
    || '|这段|這段|本文|文中|作者|本章|这本书|這本書|上文|上述|原文');

-- A question whose first word points nowhere.
CREATE OR REPLACE MACRO points_nowhere(t) AS
    regexp_matches(t, '(?i)^(?:this|that|it|he|she|they|these|those)\b')
    AND NOT regexp_matches(t, '(?i)^(?:this|that|it|he|she|they|these|those)\s+(?:is|was) (?:said|true)');

-- A text that asks or invites.
CREATE OR REPLACE MACRO asks(t) AS contains(t, '?') OR contains(t, '？') OR regexp_matches(t,
    '(?i)\b(?:tell|describe|explain|walk|talk|give|share|take (?:me|us)|say|recall|go on|name|help'
    || '|paint|set|imagine)\b|[请請]|[讲講说說谈談聊]|描述|解释|解釋|介绍|介紹'
    || '|\b(?:erz[aä]hl\w*|beschreib\w*|erkl[aä]r\w*|racont\w*|d[ée]cri\w*|expliqu\w*|parl\w*'
    || '|cu[eé]nt\w*|describ\w*|expl[ií]qu\w*|h[aá]bl\w*)');

-- The value in force of a threshold.
CREATE OR REPLACE MACRO threshold(key) AS (SELECT any_value(value) FROM thresholds WHERE name = key);

-- The language that the thresholds are for, the persona's.
CREATE OR REPLACE MACRO rules_lang() AS (SELECT any_value(lang) FROM thresholds);

-- The stems of question ('q') and answer ('a') of each pair of a table (pair_id, lang, question,
-- answer), function words left out; in Chinese, pairs of neighbouring characters. `weight` counts an
-- occurrence in an answer less the later it stands, because people take up the words of a question at
-- the beginning, and one in a question more the nearer it is to the end, where the question is asked.
-- `content` marks stems of words of three letters or more.
CREATE OR REPLACE MACRO pair_terms(pairs) AS TABLE
WITH sides AS (
    SELECT pair_id, lang, side, tokens_of(t) AS tokens
    FROM (SELECT pair_id, lang, unnest(['q', 'a']) AS side, unnest([question, answer]) AS t
          FROM query_table(pairs))
), units AS (
    SELECT pair_id, lang, side, CASE WHEN lang <> 'zh' THEN tokens
               WHEN len(kept) < 2 THEN kept
               ELSE list_transform(range(1, len(kept)), lambda n: kept[n] || kept[n + 1]) END AS words
    FROM (
        SELECT *, CASE WHEN lang = 'zh'
                       THEN list_filter(tokens, lambda w: NOT list_contains(skipped, w)) END AS kept
        FROM sides, (SELECT coalesce(list(l.word), []) AS skipped FROM word_lists l WHERE l.lang = 'zh')
    )
), occurrences AS (
    SELECT pair_id, lang, side, unnest(words) AS word, generate_subscripts(words, 1) AS place,
           len(words) AS size
    FROM units
), stems AS (
    SELECT word, lang, stem_of(word, lang) AS stem, lang = 'zh' OR length(word) > 2 AS content
    FROM (SELECT DISTINCT word, lang FROM occurrences)
    WHERE (lang, word) NOT IN (SELECT (l.lang, l.word) FROM word_lists l)
)
SELECT pair_id, side, stem,
       CASE side WHEN 'a' THEN sum(greatest(0.1, exp((1 - place) / 60)))
                 ELSE max(greatest(0.2, exp((place - size) / 40))) END AS weight,
       count(*) AS n, bool_or(content) AS content
FROM occurrences JOIN stems USING (word, lang)
GROUP BY pair_id, side, stem;

-- How rare a stem is that stands in `found` of `n` answers.
CREATE OR REPLACE MACRO stem_idf(n, found) AS
    pow(greatest(0, ln(1 + (n - found + 0.5) / (found + 0.5))), 1.5);

-- BM25's weight of a stem in an answer of `size` times the mean length; k is 2.5, b is 0.75.
CREATE OR REPLACE MACRO bm25_weight(weight, size) AS
    3.5 * weight / (weight + 2.5 * (0.25 + 0.75 * size));

-- The words inside a run of five that stood in the text before.
CREATE OR REPLACE MACRO repeated_words(tokens) AS (
    SELECT CASE WHEN list_unique(grams) = len(grams) THEN 0
                ELSE len(list_distinct(flatten(list_transform(
                    list_filter(range(1, len(grams) + 1), lambda n: list_position(grams, grams[n]) < n),
                    lambda n: range(n, n + 5))))) END
    FROM (SELECT list_transform(range(1, len(tokens) - 3),
                     lambda n: array_to_string(tokens[n : n + 4], ' ')) AS grams)
);

CREATE OR REPLACE MACRO digit_count(t) AS
    length(t) - length(regexp_replace(t, '[\p{Nd}²³¹⁰\x{2074}-\x{2079}\x{2080}-\x{2089}]', '', 'g'));

CREATE OR REPLACE MACRO capital_count(t) AS
    length(t) - length(regexp_replace(t, '[\p{Lu}\x{2160}-\x{216f}\x{24b6}-\x{24cf}]', '', 'g'));

-- A check of a gate: whether it fires on a value, and what it then says.
CREATE OR REPLACE MACRO below(rule, signal, key, reason, judged) AS {
    'fires': judged AND signal < threshold('gates.' || key), 'rule': rule, 'score': signal,
    'reason': reason || ' ' || threshold('gates.' || key), 'next_step': NULL};

CREATE OR REPLACE MACRO above(rule, signal, key, reason, judged) AS {
    'fires': judged AND signal > threshold('gates.' || key), 'rule': rule, 'score': signal,
    'reason': reason || ' ' || threshold('gates.' || key), 'next_step': NULL};
