"""Words, sentences, languages, and what is cleaned out of text."""
