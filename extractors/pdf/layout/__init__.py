"""The layout of a page: its lines in reading order, with their places and sizes."""
