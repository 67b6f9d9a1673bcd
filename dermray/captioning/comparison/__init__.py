"""Several captioners on the same images: captioned, audited and laid before experts who do not know which is which."""
