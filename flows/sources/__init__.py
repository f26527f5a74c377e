"""Sources: podcast feeds, the identity of known files, rights and passwords."""
