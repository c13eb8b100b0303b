"""What reflow-pbs registers; the executor itself is imported when it is used."""

from __future__ import annotations

from collections.abc import Iterable

from reflow.hookspecs import ExecutorEntry, hookimpl


@hookimpl
def reflow_register_executors() -> Iterable[ExecutorEntry]:
    """Register the executor "pbs"."""
    return [ExecutorEntry(name="pbs", target="reflow_pbs.executor:PBSExecutor")]
