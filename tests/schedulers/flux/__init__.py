"""A simulated Flux: the command `flux`, as strict as that of flux-core 0.88."""
