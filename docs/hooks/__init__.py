"""What MkDocs runs while it builds the site."""
