"""What reflow learns at start."""

from __future__ import annotations

from collections.abc import Iterable

from reflow.hookspecs import StoreEntry, hookimpl


@hookimpl
def reflow_register_stores() -> Iterable[StoreEntry]:
    """Register the store of ``jsonl:///…`` URLs."""
    return [StoreEntry(scheme="jsonl", target="reflow_example_jsonl.store:JsonLinesStore")]
