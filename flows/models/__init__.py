"""Finished models: which one is in use, export and push, the model card."""
