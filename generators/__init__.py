"""Passage to Questions: the one seam to LLMs, the prompts, the replies, the offline interviewer."""
