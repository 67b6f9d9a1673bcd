"""Skin tones that metadata do not tell, estimated from the image."""
