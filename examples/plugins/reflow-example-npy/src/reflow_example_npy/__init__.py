"""reflow keeps NumPy arrays in .npy files."""
