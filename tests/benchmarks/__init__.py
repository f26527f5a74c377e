"""Timings, side by side with what they are compared with; `make bench` runs them all."""
