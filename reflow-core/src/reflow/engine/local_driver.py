"""Carries a run to its end inside one process, with the elements run on this machine."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from ..caching.hash_cache import FileHashes
from ..errors import LeaseLostError
from ..model.flow import TaskDefinition
from ..states import FAILED, SKIPPED
from ..storage.journal import SignOfLife
from ..storage.outcome import CODE_EDITED, Outcome
from .dispatcher import Dispatch
from .process_pool import InProcess, ProcessPool
from .task_call import ALL_FILES

if TYPE_CHECKING:
    from ..caching.input_files import Changed, InputFiles
    from .task_call import Work

LOOK_SECONDS = 0.2
"""How often a driver looks for requests to cancel or retry."""

WAIT_SECONDS = 0.05
"""How long a driver rests that has nothing to run itself."""


def drive(
    dispatch: Dispatch,
    tasks: Mapping[str, TaskDefinition],
    *,
    max_workers: int,
    isolate: bool,
) -> str:
    """Run everything that is left of a run; return the state in which it ended.

    With `isolate`, or from two workers on, elements run in processes of their own.
    A Ctrl-C cancels what is left and is raised again. `LeaseLostError` means that
    another process has taken the run over.
    """
    pool: InProcess | ProcessPool
    workflow = dispatch.request.spec
    files = {
        spec.name: ALL_FILES if workflow.needs_fingerprints(spec) else spec.files
        for spec in workflow.tasks
    }
    watch = partial(_watch, dispatch)
    if isolate or max_workers > 1:
        pool = ProcessPool(
            tasks, dispatch.common, dispatch.attachments, files, watch, max_workers
        )
    else:
        pool = InProcess(tasks, dispatch.common, dispatch.attachments, files, watch)
    try:
        with SignOfLife(dispatch.lease):
            return _loop(dispatch, pool)
    except KeyboardInterrupt:
        dropped = pool.drop(None)
        for state in dispatch.progress.tasks.values():
            state.flying.clear()  # also what was interrupted halfway, or its answer lost
        while dispatch.take_requests():
            continue  # whatever was asked, the run ends here
        dispatch.mark_cancelled((), dropped)
        dispatch.plan()
        dispatch.sync()
        raise
    finally:
        pool.close()


def _loop(dispatch: Dispatch, pool: InProcess | ProcessPool) -> str:
    stop_on_error = dispatch.request.options.on_error == "stop"
    progress = dispatch.progress
    looked = -LOOK_SECONDS
    while True:
        now = time.monotonic()
        if now - looked > LOOK_SECONDS:
            looked = now
            dispatch.lease.check()
            for epoch in dispatch.take_requests():
                if epoch.kind == "cancel":
                    dropped = pool.drop(frozenset(epoch.tasks) or None)
                    dispatch.mark_cancelled(epoch.tasks, dropped)
                else:
                    dispatch.stopped = False
        pool.add(dispatch.plan())
        if progress.finished:
            dispatch.sync()
            dispatch.lease.check()  # an end that a stale holder wrote is no end
            assert dispatch.ledger.finished is not None
            return dispatch.ledger.finished
        if not pool.busy:
            if dispatch.stopped:
                # All that was under way has ended; nothing else may begin.
                for name, index in progress.unfinished():
                    dispatch.settle(Outcome(name, index, 0, SKIPPED, detail="stopped"))
                continue
            if not dispatch.reservations.awaits:
                raise LeaseLostError("the plan of this run has come to a standstill")
            time.sleep(WAIT_SECONDS)
        for work, answer, changed in pool.results(WAIT_SECONDS):
            if changed is not None:
                work = _made_of(dispatch, work, changed)
            edited = _edited(dispatch, work.task, changed)
            if edited:
                answer = answer._replace(edited=edited)
            outcome = dispatch.settle_answer(work, answer)
            if outcome is None:
                continue  # it is tried again
            if outcome.state == FAILED and stop_on_error and not dispatch.stopped:
                culprit = _told(outcome, progress.tasks[work.task].spec.array)
                for dropped_work in pool.drop(None, running=False):
                    progress.tasks[dropped_work.task].flying.pop(dropped_work.index, None)
                dispatch.stop(culprit)
        dispatch.save()


def _watch(dispatch: Dispatch, task: str) -> InputFiles | None:
    """Return the files that the parameters of a task name, None where there are none."""
    spec = dispatch.progress.tasks[task].spec
    if not spec.stood:
        return None
    from ..caching.input_files import InputFiles

    record = dispatch.record
    return InputFiles(task, spec.stood, spec.files, record.files, record.values, FileHashes)


def _made_of(dispatch: Dispatch, work: Work, changed: Changed) -> Work:
    """Return an element with the identity of what it has read, and say what that was."""
    for text in changed.notes:
        dispatch.note(text)
    if changed.files is None:
        return work._replace(identity="")
    inputs = dispatch.inputs(dispatch.progress.tasks[work.task])
    return work._replace(identity=inputs.identity(work.index, changed.files))


def _edited(dispatch: Dispatch, task: str, changed: Changed | None) -> tuple[str, ...]:
    """Return what an element ran with that is another than at submission."""
    code = (CODE_EDITED,) if task in dispatch.edited_code else ()
    return (*code, *(changed.files or ())) if changed else code


def _told(outcome: Outcome, array: bool) -> str:
    return f"{outcome.task}[{outcome.index}]" if array else outcome.task



