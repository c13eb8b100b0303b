"""The model: what a user writes. Tasks, their annotations, options and wires. Pure."""
