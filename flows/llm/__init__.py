"""LLM calls of the steps: endpoints, the runner of tasks, and the writer of replies."""
