"""Text-to-image generators: one interface, one file per family."""
