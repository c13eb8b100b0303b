"""Ids of runs and tags of jobs."""

from __future__ import annotations

import os
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def new_run_id(workflow: str, now: float | None = None) -> str:
    """Return an id such as ``my_pipeline-20260401-7c2k9q4mx1``.

    The end is ten random characters (50 bits): runs that are started at the same
    moment on many nodes do not meet.
    """
    day = time.strftime("%Y%m%d", time.gmtime(now))
    tail = "".join(_ALPHABET[byte & 31] for byte in os.urandom(10))
    return f"{workflow}-{day}-{tail}"


def job_tag(run_id: str, number: int, role: str) -> str:
    """Return the tag of the `number`-th intent of a run: unique, short, and safe in a job name."""
    return f"{run_id}.{number}.{role[0]}"
