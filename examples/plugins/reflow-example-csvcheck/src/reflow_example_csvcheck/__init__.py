"""reflow reads CSV files again before it relies on them."""
