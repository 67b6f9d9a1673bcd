"""The documentation: its site, and the commands that it shows."""
