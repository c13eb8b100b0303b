"""reflow runs workflows on the workers of RQ."""
