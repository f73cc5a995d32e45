"""Optimizer and variables <-> files: what is written, how it survives, and how it is read back."""
