"""Sources of lesion images, and how they become rows."""
