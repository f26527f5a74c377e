"""Which files are sources, and which format each of them has."""
