"""Plugins: the hooks, and how installed plugins are found, loaded and listed."""
