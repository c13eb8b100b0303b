"""Carries a run to its end inside one process, with the elements run on this machine."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from ..caching.hash_cache import FileHashes
from ..errors import LeaseLostError
from ..model.flow import TaskDefinition
from ..states import FAILED
from ..storage.journal import SignOfLife
from ..storage.outcome import CODE_EDITED
from .dispatcher import Dispatch
from .process_pool import Callers, InProcess, ProcessPool
from .task_call import ALL_FILES

if TYPE_CHECKING:
    from ..caching.input_files import Changed, InputFiles
    from .task_call import Answer, Work

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
    workflow = dispatch.request.spec
    files = {
        spec.name: ALL_FILES if workflow.needs_fingerprints(spec) else spec.files
        for spec in workflow.tasks
    }
    callers = Callers(tasks, dispatch.attachments, files, partial(_watch, dispatch))
    pool: InProcess | ProcessPool
    if isolate or max_workers > 1:
        pool = ProcessPool(callers, dispatch.common, max_workers)
    else:
        pool = InProcess(callers, dispatch.common)
    try:
        with SignOfLife(dispatch.lease):
            return _Driver(dispatch, pool).run()
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


class _Driver:
    """Runs what a dispatch hands out in a pool, until the run has ended."""

    def __init__(self, dispatch: Dispatch, pool: InProcess | ProcessPool) -> None:
        self._dispatch = dispatch
        self._pool = pool
        self._looked = -LOOK_SECONDS

    def run(self) -> str:
        """Run everything that is left; return the state in which the run ended."""
        dispatch, pool = self._dispatch, self._pool
        while True:
            self._take_requests()
            pool.add(dispatch.plan())
            if dispatch.progress.finished:
                dispatch.sync()
                dispatch.lease.check()  # an end that a stale holder wrote is no end
                assert dispatch.replay.finished is not None
                return dispatch.replay.finished
            if pool.busy:
                for answered in pool.results(WAIT_SECONDS):
                    self._settle(*answered)
            else:
                self._rest()
            dispatch.save()

    def _take_requests(self) -> None:
        """Carry out what was asked of the run, if it is time to look."""
        now = time.monotonic()
        if now - self._looked <= LOOK_SECONDS:
            return
        self._looked = now
        self._dispatch.lease.check()
        for epoch in self._dispatch.take_requests():
            if epoch.kind == "cancel":
                dropped = self._pool.drop(frozenset(epoch.tasks) or None)
                self._dispatch.mark_cancelled(epoch.tasks, dropped)
            else:
                self._dispatch.stopped = False

    def _rest(self) -> None:
        """Nothing is in hand here: the run has been stopped, or waits for other runs."""
        if self._dispatch.stopped:
            self._dispatch.skip_unfinished("stopped")
        elif self._dispatch.reservations.awaits:
            time.sleep(WAIT_SECONDS)
        else:
            raise LeaseLostError("the plan of this run has come to a standstill")

    def _settle(self, work: Work, answer: Answer, changed: Changed | None) -> None:
        dispatch, progress = self._dispatch, self._dispatch.progress
        if changed is not None:
            work = self._with_identity(work, changed)
        edited = self._edited(work.task, changed)
        if edited:
            answer = answer._replace(edited=edited)
        outcome = dispatch.settle_answer(work, answer)
        if outcome is None or outcome.state != FAILED or dispatch.stopped:
            return
        if dispatch.request.options.on_error == "stop":
            for dropped in self._pool.drop(None, running=False):
                progress.tasks[dropped.task].flying.pop(dropped.index, None)
            dispatch.stop(progress.tasks[work.task].name_of(work.index))

    def _with_identity(self, work: Work, changed: Changed) -> Work:
        """Return an element with the identity of what it has read, and say what that was."""
        for text in changed.notes:
            self._dispatch.note(text)
        if changed.files is None:
            return work._replace(identity="")
        inputs = self._dispatch.inputs(self._dispatch.progress.tasks[work.task])
        return work._replace(identity=inputs.identity(work.index, changed.files))

    def _edited(self, task: str, changed: Changed | None) -> tuple[str, ...]:
        """Return what an element ran with that is another than at submission."""
        code = (CODE_EDITED,) if task in self._dispatch.edited_code else ()
        return (*code, *(changed.files or ())) if changed else code


def _watch(dispatch: Dispatch, task: str) -> InputFiles | None:
    """Return the files that the parameters of a task name, None where there are none."""
    spec = dispatch.progress.tasks[task].spec
    if not spec.stood:
        return None
    from ..caching.input_files import InputFiles

    record = dispatch.record
    return InputFiles(task, spec.stood, spec.files, record.files, record.values, FileHashes)
