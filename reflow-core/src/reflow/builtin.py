"""What reflow itself registers, through the hooks that every plugin uses."""

from __future__ import annotations

from collections.abc import Iterable

from .hookspecs import ExecutorEntry, StoreEntry, hookimpl


@hookimpl
def reflow_register_executors() -> Iterable[ExecutorEntry]:
    """Register "local" and "dry-run"."""
    return [
        ExecutorEntry(name="local", target="reflow.executors.local:LocalExecutor"),
        ExecutorEntry(name="dry-run", target="reflow.executors.dryrun:DryRunExecutor"),
    ]


@hookimpl
def reflow_register_stores() -> Iterable[StoreEntry]:
    """Register the SQLite index."""
    return [StoreEntry(scheme="sqlite", target="reflow.stores.sqlite:SqliteStore")]
