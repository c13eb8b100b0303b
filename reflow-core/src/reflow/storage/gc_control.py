"""When Python's garbage collector looks for cycles, and when that is a waste of time."""

from __future__ import annotations

import gc
from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def enable_collector() -> None:
    """Turn the collector on in a process that was started without it.

    Loading modules makes many objects and no garbage: what is there by now is never searched.
    """
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


@contextmanager
def collector_paused() -> Iterator[None]:
    """Keep the collector from searching ten thousand rows again and again as they are made."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
