"""Pages of the documentation; hooks/ makes some of them of the code."""
