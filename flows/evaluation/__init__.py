"""Evaluation: the eval set, predictions, comparison of models, the report and calibration."""
