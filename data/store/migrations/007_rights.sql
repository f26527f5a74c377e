-- The ledger: whether a living person speaks in a source, their consent, and who told the rights.
ALTER TABLE sources ADD COLUMN living BOOLEAN;
ALTER TABLE sources ADD COLUMN consent VARCHAR;
ALTER TABLE sources ADD COLUMN rights_basis VARCHAR;
