-- What each split of a dataset version, $1, holds: conversations, exchanges, estimated tokens; no file of this
-- form holds conversations with tools.
SELECT split, count(*) AS conversations, sum(len(pair_ids))::BIGINT AS exchanges,
       sum(n_tokens)::BIGINT AS tokens
FROM conversations WHERE dataset_id = $1 AND tool_turns IS NULL
GROUP BY split ORDER BY list_position(['train', 'validation', 'test'], split)
