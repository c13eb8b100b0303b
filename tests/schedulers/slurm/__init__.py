"""Slurm's face of the engine, after Slurm 22.05: options, words, texts and exit codes."""
