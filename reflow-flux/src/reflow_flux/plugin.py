"""What reflow-flux registers; the executor itself is imported when it is used."""

from __future__ import annotations

from collections.abc import Iterable

from reflow.hookspecs import ExecutorEntry, hookimpl


@hookimpl
def reflow_register_executors() -> Iterable[ExecutorEntry]:
    """Register the executor "flux"."""
    return [ExecutorEntry(name="flux", target="reflow_flux.executor:FluxExecutor")]
