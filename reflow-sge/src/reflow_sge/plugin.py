"""What reflow-sge registers; the executor itself is imported when it is used."""

from __future__ import annotations

from collections.abc import Iterable

from reflow.hookspecs import ExecutorEntry, hookimpl


@hookimpl
def reflow_register_executors() -> Iterable[ExecutorEntry]:
    """Register the executor "sge"."""
    return [ExecutorEntry(name="sge", target="reflow_sge.executor:SGEExecutor")]
