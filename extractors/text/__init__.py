"""EPUB, HTML, Markdown, DOCX and plain text."""
