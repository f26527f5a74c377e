"""Podcast feeds: the transcripts that they offer, downloaded and kept up to date."""
