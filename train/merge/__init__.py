"""Merge an adapter into its base, and compare the merged model with base + adapter."""
