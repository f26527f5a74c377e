"""Planning: the due LLM calls, their cost, and an estimate of the training."""
