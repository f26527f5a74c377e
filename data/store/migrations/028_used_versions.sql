-- When a dataset version was last composed: an earlier recipe makes an earlier version the newest again.
ALTER TABLE datasets ADD COLUMN used_at TIMESTAMPTZ;
UPDATE datasets SET used_at = created_at;
