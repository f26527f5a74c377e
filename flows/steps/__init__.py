"""The steps of the pipeline: each reads rows, calls a plain function and writes its rows."""
