-- A pair whose words another has before it is dropped; all others may be taken by a dataset now.
INSERT INTO done BY NAME
SELECT DISTINCT source_id AS subject_id, 'pair' AS step, '' AS fingerprint FROM exchanges
WHERE source_id IN (SELECT subject_id FROM done WHERE step = 'extract')
  AND source_id NOT IN (SELECT subject_id FROM done WHERE step = 'pair');

DELETE FROM verdicts WHERE step = 'judge';

-- What only an earlier dataset version holds.
INSERT INTO verdicts BY NAME
SELECT id AS subject_id, 'passages' AS subject, 'superseded' AS rule, false AS keep,
       'an earlier dataset holds it; today its row reads otherwise or is gone' AS reason,
       'nothing' AS next_step, 'judge' AS step, source_id, $now::TIMESTAMPTZ AS created_at
FROM cut_passages WHERE source_row IS NOT NULL;

-- A conversation of several exchanges is compared as a whole, by its first one here.
CREATE OR REPLACE TEMP TABLE heads AS
SELECT id, source_id, NULL AS thread_id, 0 AS source_row, 0 AS rank,
       head_of(question, answer) AS head
FROM made_pairs
UNION ALL
SELECT id, source_id, thread_id, source_row, 1, head FROM exchanges WHERE ord = 0 AND fault IS NULL;

CREATE OR REPLACE TEMP TABLE alike AS
SELECT * FROM heads
WHERE head IN (SELECT head FROM heads GROUP BY head HAVING count(*) > 1 AND max(rank) = 1);

-- Only those whose beginnings are equal are compared in full.
CREATE OR REPLACE TEMP TABLE compared AS
SELECT a.*, hash(normal_words(p.question), normal_words(p.answer)) AS words
FROM alike a JOIN made_pairs p ON p.id = a.id WHERE a.rank = 0
UNION ALL
SELECT a.*, hash(normal_words(coalesce(e.question, '')), normal_words(e.answer))
FROM alike a JOIN exchanges e ON e.id = a.id WHERE a.rank = 1 AND a.thread_id IS NULL
UNION ALL
SELECT a.id, any_value(a.source_id), any_value(a.thread_id), any_value(a.source_row),
       any_value(a.rank), any_value(a.head),
       hash(list(normal_words(e.question) || chr(31) || normal_words(e.answer) ORDER BY e.ord))
FROM alike a JOIN exchanges e ON e.thread_id = a.thread_id WHERE a.rank = 1 GROUP BY a.id;

CREATE OR REPLACE TEMP TABLE beaten AS
SELECT id, source_id, thread_id, winner FROM (
    SELECT c.*, first_value(c.id) OVER (
               PARTITION BY words ORDER BY c.rank, s.mix_share IS NOT NULL, s.added_at, s.id,
               c.source_row, c.id) AS winner
    FROM compared c JOIN sources s ON s.id = c.source_id WHERE s.withdrawn_at IS NULL
) WHERE winner <> id AND rank = 1;

INSERT INTO verdicts BY NAME
SELECT e.id AS subject_id, 'pairs' AS subject, 'duplicate' AS rule, false AS keep, 1.0 AS score,
       'the same words, case and punctuation aside, stand in pair ' || b.winner AS reason,
       b.winner AS beaten_by, 'nothing' AS next_step, 'judge' AS step, e.source_id,
       $now::TIMESTAMPTZ AS created_at
FROM beaten b JOIN exchanges e
  ON e.source_id = b.source_id AND (e.id = b.id OR e.thread_id = b.thread_id);
