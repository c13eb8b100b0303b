"""Cancels runs, and retries them."""

from __future__ import annotations

import json
import time

from ..engine.batch.dispatch_pass import PassReport
from ..engine.dispatcher import Dispatch, ask, check_task
from ..engine.run_view import RunView
from ..errors import ExecutorError, LeaseHeldError, LeaseLostError
from ..executors.base import Executor
from ..plugins.executor_of_run import current_executor
from ..plugins.lookup import executor_reference
from ..storage.events import HOME, Place
from ..storage.run_directory import RunRecord, RunRequest
from ..storage.stores.base import Store
from .lifecycle import carry_on, is_queued, run_pass, tell

PATIENCE = 20.0
"""Seconds in which the process that carries a run on must take a cancel up. A healthy one looks
several times a second, so one that does not is stuck and is killed."""


def cancel(record: RunRecord, request: RunRequest, store: Store | None, task: str | None) -> None:
    """Cancel a run or one of its tasks; on return it is done, by this process or another."""
    check_task(request, task)
    if RunView(record).ended is not None:
        return
    number = ask(record, request, "cancel", task)
    until = time.monotonic() + PATIENCE
    if is_queued(record, request):
        _pass_until(record, request, store, number, whole=task is None)
        return
    # Either the driver takes the request up, or its lease is free and this process does.
    while (replay := RunView(record).replay).epoch < number:
        try:
            dispatch = Dispatch(record, request, store, dict)
        except LeaseHeldError:
            if time.monotonic() > until:
                _kill_driver(record, request, replay.driver)
                until += PATIENCE
            time.sleep(0.05)
            continue
        _cancel_here(dispatch, whole=not task)
        if task:
            carry_on(record, request, store)
        return
    if not task:
        _await_end(record, request, until)


def _kill_driver(record: RunRecord, request: RunRequest, driver: str) -> None:
    """Kill a driver that does not take a request up. Raises `ExecutorError` if there is none."""
    if not driver:
        raise ExecutorError(
            f"run {request.run_id} runs in another process (run_local), which takes the request "
            "up when the task in hand returns; interrupt that process to cancel it sooner"
        ) from None
    current_executor(record, request).cancel([driver])


def _cancel_here(dispatch: Dispatch, *, whole: bool) -> None:
    """Carry the open requests out under the lease, and let it go."""
    try:
        # Also of a run that has just ended: the request must not stay open.
        for epoch in dispatch.take_requests():
            if epoch.kind == "cancel":
                dispatch.mark_cancelled(epoch.tasks)
        if whole and dispatch.replay.finished is None:
            dispatch.plan()
    finally:
        dispatch.release()


def _await_end(record: RunRecord, request: RunRequest, until: float) -> None:
    """Wait until the driver that has taken a cancel up has ended the run and let go of it."""
    while True:
        view = RunView(record)
        if view.replay.finished is not None and not view.held:
            return
        if time.monotonic() > until:
            raise ExecutorError(
                f"run {request.run_id} has taken up the cancel but has not ended yet; its logs "
                f"are in {record.logs}"
            )
        time.sleep(0.02)


def retry(
    record: RunRecord,
    request: RunRequest,
    store: Store | None,
    task: str | None,
    executor: Executor | None = None,
) -> None:
    """Run again what failed, was skipped or was cancelled, in the background.

    With an `executor` everything submitted from now on goes there; jobs under way stay where
    they are.
    """
    place = HOME if executor is None else _place(record, request, executor)
    number = ask(record, request, "retry", task, place)
    until = time.monotonic() + PATIENCE
    if is_queued(record, request):
        report = _pass_until(record, request, store, number, whole=False)
        if report is not None:
            tell(request, report)
        return
    # A driver that is just ending may not see the request any more: then another must.
    while carry_on(record, request, store).replay.epoch < number and time.monotonic() < until:
        time.sleep(0.02)


def _place(record: RunRecord, request: RunRequest, executor: Executor) -> Place:
    """Return an executor as the record keeps it. Raises `ExecutorError` if it cannot take over."""
    executor.check()
    executor = executor.located()
    finished = RunView(record).replay.finished
    if finished is None and executor.capabilities.inline is is_queued(record, request):
        raise ExecutorError(
            f"run {request.run_id} has not ended, and jobs of a scheduler and processes of this "
            f"machine cannot carry it on together: run `reflow cancel {request.run_id}` first, "
            "then retry it"
        )
    name, settings = executor_reference(executor)
    return name, json.dumps(settings, sort_keys=True)


def _pass_until(
    record: RunRecord, request: RunRequest, store: Store | None, number: int, *, whole: bool
) -> PassReport | None:
    """Run dispatch passes until one, here or elsewhere, has carried a request out; return it.

    With `whole` it must end the run. Returns None for a pass of another process.
    """
    until = time.monotonic() + PATIENCE
    while True:
        try:
            report = run_pass(record, request, store)
        except (LeaseHeldError, LeaseLostError):
            report = None
        replay = RunView(record).replay
        if (
            replay.epoch >= number
            and (report is None or report.carried_out)
            and (not whole or replay.finished is not None)
        ):
            return report
        if time.monotonic() > until:
            reason = report.waits_for if report is not None else "another process holds the run"
            raise ExecutorError(
                f"run {request.run_id}: the request is on record but was not carried out yet "
                f"({reason}); the run's next dispatch pass will do so"
            )
        time.sleep(0.5)
