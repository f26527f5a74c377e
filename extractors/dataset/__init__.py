"""Existing datasets: exchanges and texts that somebody else has gathered."""
