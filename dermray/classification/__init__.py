"""Classifiers trained on real, synthetic and mixed images, with metrics per group."""
