"""One training run: its process, its trainer, its memory, its checkpoints and its progress."""
