"""Split transcripts into questions and answers, without ads and repeated text."""
