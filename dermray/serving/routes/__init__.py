"""Endpoints, a file for each kind."""
