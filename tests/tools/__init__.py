"""Scripts that make what the repository ships: the tiny base and the sample memoir."""
