"""LLM tasks in one shape: question, follow-up, grade, pairwise choice and rewrite."""
