"""The command line: one module of commands each for building, inspecting, talking and serving."""
