"""What moves a classifier's score that should not: the same lesion with one attribute changed."""
