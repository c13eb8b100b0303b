"""Observers: plugins that learn what happens to runs, and change nothing."""

from __future__ import annotations

from pathlib import Path

import pluggy
from attrs import frozen

from .discovery import EntryPoint, because
from .loader import call


@frozen
class Observers:
    """The observers of a run: loaded plugins, by their entry points.

    What one of them raises is returned as text, and the others are called all the same.
    """

    manager: pluggy.PluginManager
    plugins: dict[EntryPoint, object]

    def run_finished(self, run_id: str, run_dir: Path, state: str) -> list[str]:
        """Call ``reflow_run_finished`` of each; return the errors, as texts."""
        return self._call("reflow_run_finished", run_id=run_id, run_dir=run_dir, state=state)

    def task_failed(self, run_id: str, task: str, index: int | None, cause: str) -> list[str]:
        """Call ``reflow_task_failed`` of each; return the errors, as texts."""
        return self._call("reflow_task_failed", run_id=run_id, task=task, index=index, cause=cause)

    def _call(self, hook: str, **arguments: object) -> list[str]:
        errors = []
        for point, plugin in self.plugins.items():
            try:
                call(self.manager, plugin, hook, **arguments)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # an observer may not end the process either
                observer = f"observer {point.name!r} of {point.distribution}"
                errors.append(f"{observer}: {hook}: {because(error)}")
        return errors
