"""Runs reflow workflows on Slurm."""
