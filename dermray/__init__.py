"""dermray: lesion images in; captions, generators, synthetic images, classifiers and services out."""
