"""The records of every table, and the errors."""
