"""Filter, score and select pairs of question and answer."""
