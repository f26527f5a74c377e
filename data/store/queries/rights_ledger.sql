-- The rights, persons and withdrawals of all sources, oldest first.
SELECT id, title, author, kind, coalesce(rights, 'unknown') AS rights, rights_basis AS told_by,
       living, consent, location, withdrawn_at
FROM sources
ORDER BY added_at, id
