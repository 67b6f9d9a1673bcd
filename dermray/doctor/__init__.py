"""Does this machine, its cluster and its storage do what a run needs? `dermray doctor` asks before a run does."""
