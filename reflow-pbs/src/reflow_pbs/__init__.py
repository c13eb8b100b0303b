"""Runs reflow workflows on PBS Professional and OpenPBS."""
