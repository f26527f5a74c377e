"""Decide which text of a book another person wrote."""
