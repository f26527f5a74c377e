"""The formats of transcripts, one reader each."""
