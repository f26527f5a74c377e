"""Compose pairs into ChatML conversations, split them and export them."""
