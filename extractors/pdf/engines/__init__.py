"""PDF engines, and the processes that they run in."""
