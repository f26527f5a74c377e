"""Finished models: which one is in use, export and push, the facts of the model card."""
