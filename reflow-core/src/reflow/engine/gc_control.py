"""Garbage collection of processes that begin without it: loading makes much and leaves none."""

from __future__ import annotations

import gc


def collect_garbage() -> None:
    """Turn garbage collection on where it is off; what is there by now is never searched."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
