"""What stands between a socket and an endpoint: who asks, how much, how fast; and what of it is measured and logged."""
