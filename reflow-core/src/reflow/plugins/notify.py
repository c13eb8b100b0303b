"""Tells the plugins that observe a run what happens to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..storage.events import Finished
from ..storage.outcome import WHOLE_TASK, Outcome
from ..storage.run_directory import RunRequest


def observe(request: RunRequest, events: Sequence[Outcome | Finished]) -> list[str]:
    """Tell the run's observers of failures and of its end; return what went wrong with that.

    A plugin is loaded only here, where there is something to tell.
    """
    from ..errors import PluginError
    from .lookup import observers

    arrays = {task.name: task.array for task in request.spec.tasks}
    problems: list[str] = []
    for name in request.options.observers:
        try:
            observer = observers([name])
        except PluginError as error:
            problems.append(f"observer {name!r}: {error}")
            continue
        for event in events:
            if isinstance(event, Finished):
                problems += observer.run_finished(
                    request.run_id, Path(request.run_dir), event.state
                )
            else:
                single = event.index == WHOLE_TASK or not arrays[event.task]
                index = None if single else event.index
                problems += observer.task_failed(request.run_id, event.task, index, event.cause)
    return problems
