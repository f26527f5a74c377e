"""The servers that run until Ctrl-C: models and chat page."""
