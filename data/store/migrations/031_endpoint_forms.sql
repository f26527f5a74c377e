-- The form of request that an endpoint wants, beside what it refuses: whether it only streams,
-- takes no system role, and how the thoughts of its model are turned off, if they must be.
ALTER TABLE endpoints ADD COLUMN streams VARCHAR DEFAULT 'no';
ALTER TABLE endpoints ADD COLUMN takes_system BOOLEAN DEFAULT true;
ALTER TABLE endpoints ADD COLUMN thinking VARCHAR DEFAULT 'unset';
