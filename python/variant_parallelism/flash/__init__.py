"""vp-flash: puts a variant and an identity on a board, and waits until the node answers."""
