"""Machines that are network namespaces of this one: nodes that can be far away, cut off, killed."""
