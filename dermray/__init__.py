"""dermray: lesion images in; captions, generators, synthetic images, classifiers and services out."""

__version__ = "0.1.0"
