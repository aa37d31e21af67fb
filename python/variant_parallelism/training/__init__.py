"""Data sets and the training of variants."""
