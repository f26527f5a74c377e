"""Pairs of question and answer: filters, scores, duplicates and selection."""
