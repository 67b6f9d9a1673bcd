"""Where each stage's result holds what a paper measured: a module a stage, from its manifest to `Measured`."""
