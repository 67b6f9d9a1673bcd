"""What answers POST /v1/classifications: a replica with the model, and the ingress's way to it."""
