"""Runs reflow workflows on Flux."""
