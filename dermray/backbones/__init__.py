"""Networks that see images, and their weights: what evaluation, the memorisation gate and classifiers stand on."""
