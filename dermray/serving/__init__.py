"""Generation and classification over HTTP with Ray Serve."""
