"""Which executor has the jobs of a run: that of its submission, or of a later retry."""

from __future__ import annotations

import json

from ..executors.base import Executor
from ..executors.local import LocalExecutor
from ..storage.events import HOME, Place
from ..storage.requests import newest_first
from ..storage.run_directory import INLINE, RunRecord, RunRequest
from .lookup import executor_from_reference


def executor_of(request: RunRequest, place: Place = HOME) -> Executor:
    """Return the executor that a run was submitted with, or the one at `place`."""
    name, settings = place
    if place != HOME:
        return executor_from_reference(name, json.loads(settings))
    if request.executor == INLINE:
        return LocalExecutor(max_workers=request.options.max_workers)
    return executor_from_reference(request.executor, request.executor_settings)


def place_of(record: RunRecord) -> Place:
    """Return where the jobs of a run go: what the last retry asked for, if any did."""
    for request in newest_first(record.files, record.folder):
        if request.executor:
            return request.executor, request.settings
    return HOME


def current_executor(record: RunRecord, request: RunRequest) -> Executor:
    """Return the executor that jobs of a run are submitted to now."""
    return executor_of(request, place_of(record))
