"""Answers and losses of a loaded model: in a chat, for an evaluation, behind a server."""
