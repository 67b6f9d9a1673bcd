"""One script per claim. Each prints a ratio measured in one run against what a user would do instead."""
