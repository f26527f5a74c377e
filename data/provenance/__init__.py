"""The rights of the sources."""
