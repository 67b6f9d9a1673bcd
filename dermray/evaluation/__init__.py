"""How good synthetic images are: attributes read back, distribution distances, diversity, pictures."""
