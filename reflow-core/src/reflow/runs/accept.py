"""Keeps the results of a run after a change of code that does not matter for them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime, timezone

from attrs import evolve

from ..caching.code_fingerprint import code_of
from ..caching.input_files import is_beside, stood_text
from ..caching.reuse import Reuse
from ..engine.dispatcher import Dispatch
from ..engine.task_call import Work
from ..errors import ParameterError, UnknownTaskError, unknown_name
from ..model.flow import TaskDefinition
from ..model.spec import TaskSpec
from ..states import CACHED, CANCELLED, DONE, SUCCESS
from ..storage.ids import new_run_id
from ..storage.outcome import UNSETTLED_DETAIL, Outcome
from ..storage.run_directory import RunRecord, RunRequest
from ..storage.stores.base import CachedResult, Store
from .diff import Recorded
from .submit import enter


def accept(
    record: RunRecord,
    request: RunRequest,
    store: Store,
    tasks: Mapping[str, TaskDefinition],
    task: str | None,
) -> tuple[RunRecord, RunRequest]:
    """Let a run's results count for the present code of its tasks, or of one of them.

    They are recorded as cached in a run of their own, beside the old one, whose record is
    returned; what the old run has no result of is cancelled there. `tasks` are the tasks as
    they are now. Raises `UnknownTaskError` for a task that the run does not have, and
    `ParameterError` where there is nothing to accept, or more has changed than code.
    """
    names = {one.name for one in request.spec.tasks}
    if task is not None and task not in names:
        raise UnknownTaskError(unknown_name("task", task, names))
    old = Recorded(record, request)
    specs = [
        _present(one, tasks.get(one.name)) if task in (None, one.name) else one
        for one in request.spec.tasks
    ]
    accepted = [
        new.name
        for new, was in zip(specs, request.spec.tasks, strict=True)
        if new.code != was.code and old.progress.tasks[new.name].done
    ]
    if not accepted:
        raise ParameterError(
            f"there is nothing to accept of run {request.run_id}: "
            + (f"task {task!r} has" if task else "its tasks have")
            + " no results, or the code that they were made by"
        )
    new = evolve(
        request,
        run_id=new_run_id(request.spec.name),
        created_at=datetime.now(timezone.utc).isoformat(),
        options=evolve(request.options, force=False, force_tasks=()),
        spec=evolve(request.spec, tasks=tuple(specs)),
    )
    made = RunRecord(f"{os.path.dirname(record.folder)}/{new.run_id}")
    kept = None
    if not os.path.isabs(new.entrypoint.target) and new.entrypoint.kind in ("file", "pickle"):
        kept = record.files.read(f"{record.folder}/{new.entrypoint.target}")
    beside = {
        one.stood: stood_text(record.files, record.values, one.stood)
        for spec in specs
        for one in spec.constants
        if is_beside(one.stood)
    }
    enter(made, new, kept, store, {name: tasks[name] for name in names if name in tasks}, beside)
    _take_over(made, new, store, tasks, old)
    return made, new


def _present(spec: TaskSpec, task: TaskDefinition | None) -> TaskSpec:
    """Return a task with its present code. Raises `ParameterError` where more has changed."""
    if task is None:
        raise ParameterError(
            f"the workflow has no task {spec.name!r} any more: accept the others one by one"
        )
    if task.options.version != spec.version:
        raise ParameterError(
            f"the version of task {spec.name!r} is {task.options.version!r} now, and was "
            f"{spec.version!r}: that says that its results are void; take it back to accept them"
        )
    code, sources = code_of(task)
    return evolve(spec, code=code, sources=sources)


def _take_over(
    made: RunRecord,
    request: RunRequest,
    store: Store,
    tasks: Mapping[str, TaskDefinition],
    old: Recorded,
) -> None:
    succeeded = old.progress.finished and old.progress.verdict == SUCCESS

    # Whoever accepts a run says that its results stand, so nothing is checked: whether their files
    # are as the tasks left them is asked when another run uses them.
    def reuse_of(name: str) -> Reuse:
        return Reuse(
            name, made.files, request.spec.serializers, lambda: tasks[name],
            lambda result: succeeded, checks=None, values=made.values,
        )  # fmt: skip

    reuse = {name: reuse_of(name) for name in tasks}
    dispatch = Dispatch(made, request, store, lambda: tasks)
    try:
        while works := dispatch.plan():
            for work in works:
                dispatch.settle(_outcome(reuse[work.task], work, old))
    finally:
        dispatch.release()


def _outcome(reuse: Reuse, work: Work, old: Recorded) -> Outcome:
    """Return the older result of an element under its new identity; CANCELLED for none."""
    outcomes = old.progress.tasks[work.task].outcomes
    outcome = outcomes[work.index] if work.index < len(outcomes) else None
    if outcome is None or outcome.state not in DONE:
        return _cancelled(work, old)
    if not _is_of_the_same(old, work, outcome):
        return _cancelled(
            work, old, "what it read was changed meanwhile, or it was taken out of the cache"
        )
    result = CachedResult(
        old.request.run_id, old.record.folder, work.task, work.index, outcome.identity,
        outcome.digest, outcome.value, outcome.paths, outcome.prints,
    )  # fmt: skip
    decision = reuse.decide(result)
    if not decision.stands:
        return _cancelled(work, old, decision.reason)
    detail = f"accepted from run {old.request.run_id}"
    if decision.unsettled:
        detail = f"{UNSETTLED_DETAIL}; {detail}"
    return Outcome(
        work.task, work.index, work.attempt, CACHED, work.identity, outcome.digest,
        outcome.value, outcome.paths, detail=detail, prints=outcome.prints,
        unsettled=decision.unsettled,
    )  # fmt: skip


def _cancelled(work: Work, old: Recorded, reason: str = "") -> Outcome:
    detail = f"run {old.request.run_id} has no result of it to accept"
    return Outcome(
        work.task, work.index, work.attempt, CANCELLED, cause=CANCELLED,
        detail=f"{detail}: {reason}" if reason else detail,
    )  # fmt: skip


def _is_of_the_same(old: Recorded, work: Work, found: Outcome) -> bool:
    """Whether a result may be of the files that were submitted, whatever code it is of."""
    if not found.identity:
        return False
    if not old.progress.tasks[work.task].spec.stood:
        return True
    side = old.side(work.task, work.index)
    return side is not None and found.identity == side.inputs.identity(work.index)
