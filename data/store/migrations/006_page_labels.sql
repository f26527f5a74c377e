-- The number printed on the first page of a block or passage, such as xii or 213; `page` counts
-- the file's pages from 1.
ALTER TABLE blocks ADD COLUMN page_label VARCHAR;
ALTER TABLE passages ADD COLUMN page_label VARCHAR;
