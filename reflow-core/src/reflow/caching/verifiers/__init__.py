"""Verifiers: whether a stored output still stands."""
