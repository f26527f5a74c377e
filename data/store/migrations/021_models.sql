-- How a merged model was made and how it compares with base + adapter: `equal` and `ties` of
-- `prompts` greedy answers, `stops` that ended by themselves, losses and `kl` in nats a token.
-- `step` is the checkpoint that was merged, NULL for the adapter that training kept.
ALTER TABLE models ADD COLUMN way VARCHAR;
ALTER TABLE models ADD COLUMN alike BOOLEAN;
ALTER TABLE models ADD COLUMN prompts INTEGER;
ALTER TABLE models ADD COLUMN equal INTEGER;
ALTER TABLE models ADD COLUMN ties INTEGER;
ALTER TABLE models ADD COLUMN stops INTEGER;
ALTER TABLE models ADD COLUMN kl DOUBLE;
ALTER TABLE models ADD COLUMN loss_base DOUBLE;
ALTER TABLE models ADD COLUMN loss_adapter DOUBLE;
ALTER TABLE models ADD COLUMN loss_merged DOUBLE;
ALTER TABLE models ADD COLUMN step INTEGER;
