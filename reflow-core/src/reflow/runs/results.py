"""Reads the values of a run's tasks back into Python."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

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

    Without the workflow's code the JSON form is returned.
    """
    names = [one.name for one in request.spec.tasks]
    name = task
    workflow = run.workflow
    if not isinstance(task, str):
        by_function = {} if workflow is None else {
            one.function: key for key, one in workflow.tasks.items()
        }
        name = by_function.get(task, getattr(task, "__name__", repr(task)))
    if name not in names:
        raise UnknownTaskError(unknown_name("task", name, names))
    state = RunView(record, request.spec).progress.tasks[name]
    if not state.succeeded():
        bad = next(
            (one for one in (state.whole, *state.outcomes) if one and one.state not in DONE), None
        )
        why = "it has not ended" if bad is None else f"{bad.state}: {bad.detail or bad.cause}"
        raise RunFailedError(f"task {name!r} of run {request.run_id} has no result: {why}", run)
    decode: Callable[[str], Any] = json.loads
    before = current.set(
        AttachmentFolder(record.files, record.values, request.spec.serializers)
    )
    try:
        if workflow is not None and name in workflow.tasks:
            from ..values.codec import codec_for

            decode = codec_for(workflow.tasks[name].signature().returns).decode
        values = Values(record.files, record.values)
        found = [decode(values.text(one)) for one in state.outcomes if one is not None]
    finally:
        current.reset(before)
    return found if state.spec.array else found[0]
