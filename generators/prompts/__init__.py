"""The prompts of the LLM tasks, and the text files that they are read from."""
