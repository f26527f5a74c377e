"""The base model prepared for ChatML, the adapter on it, and how both are loaded."""
