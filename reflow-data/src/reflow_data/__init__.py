"""reflow keeps arrays, tables and datasets in files."""
