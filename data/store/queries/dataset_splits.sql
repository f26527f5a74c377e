-- What each split of a dataset version, $1, holds: conversations, exchanges, estimated tokens.
SELECT split, count(*) AS conversations, sum(len(pair_ids))::BIGINT AS exchanges,
       sum(n_tokens)::BIGINT AS tokens
FROM conversations WHERE dataset_id = $1
GROUP BY split ORDER BY list_position(['train', 'validation', 'test'], split)
