"""Runs reflow workflows on Grid Engine."""
