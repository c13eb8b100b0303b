"""Runs reflow workflows on LSF."""
