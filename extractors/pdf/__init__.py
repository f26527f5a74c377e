"""PDF books: an engine's glyphs become lines, and lines, cleaned step by step, blocks."""
