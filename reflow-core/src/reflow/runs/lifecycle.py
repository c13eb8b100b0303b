"""Who carries a run on: starts its driver, takes over from a dead one, waits."""

from __future__ import annotations

import contextlib
import shlex
import sys
import time
from collections.abc import Mapping
from functools import cache, partial
from typing import TYPE_CHECKING

from attrs import evolve

from ..caching.code_fingerprint import changed
from ..engine.batch.dispatch_pass import DispatchPass, PassReport
from ..engine.dispatcher import Dispatch
from ..engine.replay import DRIVER
from ..engine.run_view import RunView
from ..engine.task_call import edited_code_text
from ..errors import DefinitionError, LeaseHeldError, LeaseLostError
from ..executors.base import JobRequest
from ..model.entrypoint import is_editable, load_tasks
from ..model.flow import TaskDefinition
from ..plugins.executor_of_run import current_executor, executor_of
from ..states import ERROR, FAILED, WAITING
from ..storage.events import Intent, Submitted
from ..storage.ids import job_tag
from ..storage.journal import SignOfLife
from ..storage.outcome import Outcome
from ..storage.run_directory import RunRecord, RunRequest, job_command
from ..storage.stores.base import Store

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_DRIVERS = 4
"""Drivers in a row that may die without any progress before the run is given up."""

LOOK_SECONDS = 20.0
"""How often someone who waits for a queued run asks the scheduler after it."""

START_SECONDS = 30.0
"""A driver that was started has so long to take the lease before it counts as dead."""


def start_driver(record: RunRecord, request: RunRequest, store: Store | None) -> None:
    """Start a process that carries a run on in the background.

    The intent is on record before the process is started, its id after. Raises
    `LeaseHeldError` if somebody carries the run on already.
    """
    executor = current_executor(record, request)
    load = partial(load_tasks, request.entrypoint, record.folder)
    with Dispatch(record, request, store, load) as dispatch:
        if dispatch.ended is not None:
            return
        number = len(dispatch.replay.jobs) + 1
        tag = job_tag(request.run_id, number, DRIVER)
        # On record before it is started: a driver that dies at once counts as fruitless.
        dispatch.write(Intent(tag, DRIVER, "", (), (), dispatch.clock.now()))
        dispatch.sync()
        script = record.write_script(tag, driver_script(record, request))
        job = executor.submit(
            JobRequest(
                tag=tag,
                name=request.run_id,
                script=script,
                directory=request.entrypoint.directory,
                log=f"{record.logs}/driver-{number}.log",
            )
        )
        dispatch.write(Submitted(tag, job, dispatch.clock.now()))


def driver_script(record: RunRecord, request: RunRequest) -> str:
    """Return the script of a run's driver; it can be run again by hand."""
    run = f"{job_command(request.python)} drive {shlex.quote(record.folder)}"
    return (
        "#!/bin/sh\n"
        f"# Carries run {request.run_id} on; safe to run again by hand.\n"
        f"cd {shlex.quote(request.entrypoint.directory)} || exit 1\n"
        "tries=0\n"
        f"until {run}; do\n"
        "  tries=$((tries + 1))\n"
        f"  [ $tries -lt {MAX_DRIVERS} ] || exit 1\n"
        "done\n"
    )


def drive_recorded(record: RunRecord) -> str:
    """Carry a run on from its record, in this process, until its end."""
    # Not at the top: a dispatch pass needs neither this nor processes of its own.
    from ..engine.local_driver import drive
    from ..plugins.open_store import open_store

    request = record.request()
    executor = current_executor(record, request)
    store = open_store(request.store)
    load = cache(partial(load_tasks, request.entrypoint, record.folder))
    with _take(record, request, store, load) as dispatch:
        if dispatch.ended is not None:
            return dispatch.ended
        try:
            tasks = load()
            _take_code(dispatch, tasks)
        except Exception as error:
            return _give_up(dispatch, f"the workflow's code cannot be loaded: {error!r}")
        return drive(dispatch, tasks, max_workers=executor.workers, isolate=True)


def _take_code(dispatch: Dispatch, tasks: Mapping[str, TaskDefinition]) -> None:
    """Let identities be those of the code that is going to run.

    Raises `DefinitionError` where it has changed since submission and must not have.
    """
    request = dispatch.request
    if not is_editable(request.entrypoint):
        return
    for name, state in dispatch.progress.tasks.items():
        code = changed(tasks[name], state.spec.code, state.spec.sources)
        if not code:
            continue
        text = edited_code_text(name)
        if request.options.on_code_change == "fail" and not state.closed:
            raise DefinitionError(f"{text} (on_code_change='fail'): submit the run anew")
        state.spec = evolve(state.spec, code=code)
        dispatch.edited_code.add(name)
        dispatch.note(f"{text}: the new code counts")


def ready_pass(record: RunRecord, own_tag: str = "") -> Callable[[], PassReport]:
    """Load all that a dispatch pass needs and that stays as it is; return the pass.

    It waits for a holder of the lease that is about to let go: who unblocked something must not
    leave before it is submitted.
    """
    from ..plugins.open_store import open_store

    request = record.request()
    executor_of(request)  # its plugin is loaded
    return partial(run_pass, record, request, open_store(request.store), own_tag)


def run_pass(
    record: RunRecord, request: RunRequest, store: Store | None, own_tag: str = ""
) -> PassReport:
    """Run one dispatch pass over a queued run, as soon as its lease is free."""
    load = partial(load_tasks, request.entrypoint, record.folder)
    with _take(record, request, store, load) as dispatch, SignOfLife(dispatch.lease):
        return DispatchPass(
            dispatch,
            executor_of(request),
            make=lambda place: executor_of(request, place),
            own_tag=own_tag,
        ).run()


def start(record: RunRecord, request: RunRequest, store: Store | None) -> None:
    """Begin a run: start its driver, or submit its first jobs.

    Raises `LeaseHeldError` if somebody carries the run on already.
    """
    try:
        if is_queued(record, request):
            tell(request, run_pass(record, request, store))
        else:
            start_driver(record, request, store)
    except KeyboardInterrupt:
        # Some of its jobs may be in the queue: they carry it on.
        print(
            f"reflow: run {request.run_id} has begun and may go on: `reflow cancel "
            f"{request.run_id}` ends it",
            file=sys.stderr,
        )
        raise


def tell(request: RunRequest, report: PassReport) -> None:
    """Say what of a pass is on record, while for whoever asked for it all looks well."""
    for text in report.refused:
        print(f"reflow: run {request.run_id}: {text}", file=sys.stderr)
    if report.again:
        print(
            f"reflow: run {request.run_id}: {report.waits_for}; not all jobs that carry it on "
            f"could be submitted: `reflow retry {request.run_id}` submits what is missing",
            file=sys.stderr,
        )
    elif not report.carried_out:
        print(f"reflow: run {request.run_id}: {report.waits_for}", file=sys.stderr)


def is_queued(record: RunRecord, request: RunRequest) -> bool:
    """Whether the elements of a run are jobs of a scheduler."""
    return not current_executor(record, request).capabilities.inline


def _take(
    record: RunRecord,
    request: RunRequest,
    store: Store | None,
    load: Callable[[], Mapping[str, TaskDefinition]],
) -> Dispatch:
    """Take the lease; whoever started this process may hold it for a moment more."""
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            return Dispatch(record, request, store, load)
        except LeaseHeldError:
            if time.monotonic() > until:
                raise
            time.sleep(0.01)


def _give_up(dispatch: Dispatch, reason: str) -> str:
    """End a run that nothing can carry on, with the reason on every task."""
    while dispatch.take_requests():
        continue  # whatever was asked, this is its end
    for name, index in dispatch.progress.unfinished():
        dispatch.settle(Outcome(name, index, 0, FAILED, cause=ERROR, detail=reason))
    dispatch.plan()
    return dispatch.replay.finished or FAILED


def carry_on(record: RunRecord, request: RunRequest, store: Store | None) -> RunView:
    """See to it that an active run has somebody who carries it on; return where it stands.

    A driver that died is replaced, until several in a row have died without progress.
    """
    view = RunView(record)
    if view.state != WAITING:
        return view
    fruitless = view.replay.fruitless
    try:
        if fruitless >= MAX_DRIVERS:
            with Dispatch(record, request, store, dict) as dispatch:
                _give_up(
                    dispatch,
                    f"{fruitless} processes that carried the run on died one after the "
                    f"other without any progress; see {record.logs}",
                )
        else:
            start(record, request, store)
    except (LeaseHeldError, LeaseLostError):
        pass
    return RunView(record)


class Watch:
    """When somebody who waits for a run has last looked after its jobs.

    It outlives a single wait: of many short ones each would be over before it is time to look.
    """

    def __init__(self) -> None:
        self.looked: float | None = None

    def is_due(self, seconds: float) -> bool:
        """Whether the last look is so long ago; then this is the next one."""
        now = time.monotonic()
        due = self.looked is not None and now - self.looked > seconds
        if due or self.looked is None:
            self.looked = now
        return due


def wait_for_end(
    record: RunRecord,
    request: RunRequest,
    store: Store | None,
    timeout: float | None,
    watch: Watch,
) -> str | None:
    """Wait until a run has ended, carrying it on if nobody does; None after `timeout`."""
    until = None if timeout is None else time.monotonic() + timeout
    capabilities = current_executor(record, request).capabilities
    pause = 0.01
    while True:
        if capabilities.inline:
            view = carry_on(record, request, store)
        else:
            view = _look_after(record, request, store, capabilities.min_poll_interval, watch)
        if view.ended is not None and not view.held:
            return view.ended
        remaining = pause if until is None else until - time.monotonic()
        if remaining <= 0:
            return None
        time.sleep(min(pause, remaining))
        pause = min(pause * 1.5, 1.0)


def _look_after(
    record: RunRecord, request: RunRequest, store: Store | None, interval: float, watch: Watch
) -> RunView:
    """Return where a queued run stands; run a pass over it if it is time to.

    Jobs may vanish without a word, with all that were to notice it.
    """
    view = carry_on(record, request, store) if watch.looked is None else RunView(record)
    seconds = 0.0 if view.state == WAITING else LOOK_SECONDS
    if not watch.is_due(max(seconds, interval)):
        return view
    with contextlib.suppress(LeaseHeldError, LeaseLostError):
        run_pass(record, request, store)
    return RunView(record)
