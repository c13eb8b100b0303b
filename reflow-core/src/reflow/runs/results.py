"""Reads the values of a run's tasks back into Python."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..engine.planner import TaskState
from ..engine.run_view import RunView
from ..errors import RunFailedError, UnknownTaskError, unknown_name
from ..states import DONE
from ..storage.attachments import AttachmentFolder
from ..storage.blobs import Values
from ..storage.run_directory import RunRecord, RunRequest
from ..values.references import current

if TYPE_CHECKING:
    from ..run import Run


def read_result(run: Run, record: RunRecord, request: RunRequest, task: Any) -> Any:
    """Return the value of one task of a run, structured by its return annotation.

    `task` is its name or its function. Without the workflow's code the value is returned in
    JSON's own types. Raises `UnknownTaskError`, and `RunFailedError` with the cause if the task
    has no value.
    """
    name = _task_name(run, task)
    names = [spec.name for spec in request.spec.tasks]
    if name not in names:
        raise UnknownTaskError(unknown_name("task", name, names))
    state = RunView(record, request.spec).progress.tasks[name]
    if not state.succeeded():
        raise RunFailedError(
            f"task {name!r} of run {request.run_id} has no result: {_cause(state)}", run
        )
    values = Values(record.files, record.values)
    # Decoding a value reads the files that it refers to from here.
    token = current.set(AttachmentFolder(record.files, record.values, request.spec.serializers))
    try:
        decode = _decoder(run, name)
        results = [decode(values.text(outcome)) for outcome in state.outcomes if outcome]
    finally:
        current.reset(token)
    return results if state.spec.array else results[0]


def _task_name(run: Run, task: Any) -> str:
    if isinstance(task, str):
        return task
    for name, definition in run.workflow.tasks.items() if run.workflow is not None else ():
        if definition.function is task:
            return name
    return getattr(task, "__name__", None) or repr(task)


def _cause(state: TaskState) -> str:
    """Say why a task has no value."""
    for outcome in (state.whole, *state.outcomes):
        if outcome is not None and outcome.state not in DONE:
            return f"{outcome.state}: {outcome.detail or outcome.cause}"
    return "it has not ended"


def _decoder(run: Run, name: str) -> Callable[[str], Any]:
    if run.workflow is None or name not in run.workflow.tasks:
        return json.loads
    from ..values.codec import codec_for

    return codec_for(run.workflow.tasks[name].signature().returns).decode
