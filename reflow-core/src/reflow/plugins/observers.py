"""Observers: plugins that are told of what happens to runs and change nothing."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from attrs import frozen

from ..errors import PluginError, UnknownPluginError, nearest
from .discovery import EntryPoint, and_import_name, because, normal
from .entries import LIFECYCLE, clash_text
from .loader import Loader


@frozen
class Observers:
    """The observers of a run, by their entry points.

    What one of them raises is returned as text, and keeps no other from being told.
    """

    loader: Loader
    points: tuple[EntryPoint, ...]

    def run_finished(self, run_id: str, run_dir: Path, state: str) -> list[str]:
        """Call ``reflow_run_finished`` of each; return the errors, as texts."""
        return self._call("reflow_run_finished", run_id=run_id, run_dir=run_dir, state=state)

    def task_failed(self, run_id: str, task: str, index: int | None, cause: str) -> list[str]:
        """Call ``reflow_task_failed`` of each; return the errors, as texts."""
        return self._call("reflow_task_failed", run_id=run_id, task=task, index=index, cause=cause)

    def _call(self, hook: str, **arguments: object) -> list[str]:
        errors = []
        for point in self.points:
            try:
                self.loader.call(self.loader.loaded[point], hook, **arguments)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # an observer may not end the process either
                errors.append(
                    f"observer {point.name!r} of {point.distribution}: {hook}: {because(error)}"
                )
        return errors


def load_observers(loader: Loader, names: Iterable[str]) -> Observers:
    """Load the plugins of these entry-point names, each once, in this order.

    Raises as `reflow.plugins.observers` says.
    """
    return Observers(loader, tuple(_load(loader, name) for name in dict.fromkeys(names)))


def _load(loader: Loader, name: str) -> EntryPoint:
    points = loader.installed.named(name)
    if not points:
        known = sorted({point.name for point in loader.points})
        close = nearest(name, known)
        hint = f": did you mean {close!r}?" if close else ""
        raise UnknownPluginError(
            and_import_name(
                f"no observer named {name!r} is installed{hint} "
                f"(installed plugins: {', '.join(known) or 'none'})"
            )
        )
    if not loader.allowed(points[0]):
        raise loader.left_out(points[0])
    pinned = loader.settings.pin.get(name)
    if pinned is not None:
        loader.check_pin(name, pinned)
        mine = [one for one in points if normal(one.distribution.name) == normal(pinned)]
        points = mine or points
    loader.load(points)
    who = [point.distribution for point in points]
    error = loader.failed(lambda one: one.plugin == name and one.distribution in who)
    if error:
        raise error
    found = [point for point in points if loader.observes(loader.loaded[point])]
    if not found:
        raise PluginError(
            f"plugin {name!r} of {who[0]} is no observer: it implements none of "
            f"{', '.join(LIFECYCLE)}"
        )
    if len(found) > 1:
        what = f"bring an observer named {name!r}"
        raise PluginError(
            clash_text(what, [one.distribution for one in found], [name], loader.settings)
        )
    return found[0]
