"""The blinded reader study in a browser: who reads, who is at it, and what was answered."""
