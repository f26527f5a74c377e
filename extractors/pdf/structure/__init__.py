"""The structure of a book: what each line is, and the blocks that the lines make."""
