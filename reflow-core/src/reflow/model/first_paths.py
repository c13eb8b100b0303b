"""The modules in which 0.1.0 had classes of reflow that pickles and fingerprints name.

Pickled functions of earlier records are loaded by these names, and fingerprints of code write
them, so that moving a class makes nothing run again.
"""

from __future__ import annotations

MOVED = {
    "reflow.annotations": "reflow.model.annotations",
    "reflow.config.layers": "reflow.config.loading",
    "reflow.flow": "reflow.model.flow",
    "reflow.outcomes": "reflow.storage.outcome",
    "reflow.retrying": "reflow.model.retry",
    "reflow.serializers.base": "reflow.values.serializers.base",
    "reflow.serializers.pickle": "reflow.values.serializers.pickle",
    "reflow.signature": "reflow.model.signature",
    "reflow.spec": "reflow.model.spec",
    "reflow.stores.base": "reflow.storage.stores.base",
    "reflow.stores.sqlite": "reflow.storage.stores.sqlite.store",
    "reflow.taskoptions": "reflow.model.options",
    "reflow.verifiers.base": "reflow.caching.verifiers.base",
}
"""Where each is now, by where it was."""

FIRST = {now: first for first, now in MOVED.items()}
"""Where each was, by where it is now."""
