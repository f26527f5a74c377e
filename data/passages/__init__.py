"""From blocks to passages, and the filters that a passage passes."""
