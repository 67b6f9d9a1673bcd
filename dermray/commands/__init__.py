"""Commands of the command line that need more than a stage's config: their arguments, and what they do."""
