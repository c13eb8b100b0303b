"""What reflow learns at start: a description, and no RQ."""

from __future__ import annotations

from collections.abc import Iterable

from reflow.hookspecs import ExecutorEntry, hookimpl


@hookimpl
def reflow_register_executors() -> Iterable[ExecutorEntry]:
    """Register the executor "rq"."""
    return [ExecutorEntry(name="rq", target="reflow_example_rq.executor:RQExecutor")]
