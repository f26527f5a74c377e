"""Podcasts and talks: what was said, by whom, and when."""
