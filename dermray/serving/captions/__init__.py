"""What answers POST /v1/captions: a replica with vLLM's engine, or with a client of a remote endpoint."""
