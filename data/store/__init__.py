"""The workspace's database: one DuckDB file, its migrations, views and queries."""
