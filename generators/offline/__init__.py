"""The offline interviewer: questions without an LLM."""
