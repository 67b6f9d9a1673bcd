"""Images as vectors, by a network that a config names: what distances and the memorisation gate measure in."""
