"""Evaluation: the eval set with its predictions, comparison of models, calibration."""
