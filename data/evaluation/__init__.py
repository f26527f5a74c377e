"""What the evaluation measures on plain texts: no model, no torch, no download."""
