"""Storage: the run directory, which is the truth about a run, and the stores, which index runs."""
