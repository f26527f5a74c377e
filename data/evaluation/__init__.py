"""Compute the metrics of an evaluation from plain texts, without a model or torch."""
