-- The view `outline` of one source, or of all of them. $1 is a part of its title or of its place,
-- or of its id, in lower case between two '%'; $2 is how many rows are shown at most.
SELECT o.source, o.chapter, o.pages, o.words, o.kept, o.dropped, o.decision, o.reason
FROM outline o JOIN sources s ON s.id = o.source_id
WHERE lower(s.title) LIKE $1 OR lower(s.location) LIKE $1 OR s.id LIKE $1
ORDER BY s.added_at, s.id, o.document_id, o.ord
LIMIT $2
