"""A small real batch engine that runs jobs as processes of this machine.

It knows no scheduler's words: options, state names, texts and exit codes belong to a face
(`schedulers.slurm`), which the engine's daemon is given.
"""
