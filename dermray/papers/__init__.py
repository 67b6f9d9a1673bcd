"""What the four papers published, and the same numbers of ours beside them."""
