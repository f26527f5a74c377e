"""Whose words a section holds: the persona's or another person's."""
