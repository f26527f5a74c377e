"""Sources: podcast feeds, identity of files, rights and passwords."""
