"""An estimator a kind of stage."""
