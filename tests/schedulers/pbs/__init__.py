"""PBS's face of the engine, after OpenPBS 23.06: options, words, texts and exit codes."""
