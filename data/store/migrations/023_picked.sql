-- When a person picked the model by hand; NULL for one that came into use by its evaluation. One
-- that was picked leaves only for a later run that is surely better on held-out text.
ALTER TABLE models ADD COLUMN picked_at TIMESTAMPTZ;
