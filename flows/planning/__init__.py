"""Plan: the LLM calls that are due, their cost, and an estimate of the training."""
