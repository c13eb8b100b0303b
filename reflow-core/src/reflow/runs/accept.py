"""Keeps the results of a run after a change of code that does not affect them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
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
from ..states import CANCELLED, DONE, SUCCESS
from ..storage.ids import new_run_id
from ..storage.outcome import Outcome
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
    returned; elements without a result in the old run are cancelled there. `tasks` are the tasks
    as they are now. Raises `UnknownTaskError` for a task that the run does not have, and
    `ParameterError` where there is nothing to accept, or more has changed than code.
    """
    names = {spec.name for spec in request.spec.tasks}
    if task is not None and task not in names:
        raise UnknownTaskError(unknown_name("task", task, names))
    old = Recorded(record, request)
    specs = tuple(
        _present(spec, tasks.get(spec.name)) if task in (None, spec.name) else spec
        for spec in request.spec.tasks
    )
    if not any(
        new.code != before.code and old.progress.tasks[new.name].done
        for new, before in zip(specs, request.spec.tasks, strict=True)
    ):
        raise ParameterError(
            f"run {request.run_id} has nothing to accept: "
            + (f"task {task!r} has" if task else "its tasks have")
            + " no results, or the code is still the same"
        )
    new_request = evolve(
        request,
        run_id=new_run_id(request.spec.name),
        created_at=datetime.now(timezone.utc).isoformat(),
        options=evolve(request.options, force=False, force_tasks=()),
        spec=evolve(request.spec, tasks=specs),
    )
    new_record = RunRecord(f"{os.path.dirname(record.folder)}/{new_request.run_id}")
    known_tasks = {name: tasks[name] for name in names if name in tasks}
    enter(
        new_record, new_request, _kept_code(record, request), store, known_tasks,
        _file_texts(record, specs),
    )  # fmt: skip
    _take_over(new_record, new_request, store, tasks, old)
    return new_record, new_request


def _kept_code(record: RunRecord, request: RunRequest) -> bytes | None:
    """Return the script or pickle that a record keeps; None where the code is elsewhere."""
    entrypoint = request.entrypoint
    if entrypoint.kind not in ("file", "pickle") or os.path.isabs(entrypoint.target):
        return None
    return record.files.read(f"{record.folder}/{entrypoint.target}")


def _file_texts(record: RunRecord, specs: Iterable[TaskSpec]) -> dict[str, str]:
    """Return the texts beside the request of how the files of parameters looked, by digest."""
    return {
        constant.stood: stood_text(record.files, record.values, constant.stood)
        for spec in specs
        for constant in spec.constants
        if is_beside(constant.stood)
    }


def _present(spec: TaskSpec, task: TaskDefinition | None) -> TaskSpec:
    """Return a task with its present code. Raises `ParameterError` where more has changed."""
    if task is None:
        raise ParameterError(
            f"the workflow has no task {spec.name!r} any more: accept the other tasks one by one"
        )
    if task.options.version != spec.version:
        raise ParameterError(
            f"the version of task {spec.name!r} is {task.options.version!r} now and was "
            f"{spec.version!r}, which makes its results void; restore the version to accept them"
        )
    code, sources = code_of(task)
    return evolve(spec, code=code, sources=sources)


def _take_over(
    record: RunRecord,
    request: RunRequest,
    store: Store,
    tasks: Mapping[str, TaskDefinition],
    old: Recorded,
) -> None:
    succeeded = old.progress.finished and old.progress.verdict == SUCCESS

    # Whoever accepts a run vouches for its results, so nothing is checked: whether their files
    # are as the tasks left them is checked when another run uses them.
    def reuse_of(name: str) -> Reuse:
        return Reuse(
            name, record.files, request.spec.serializers, lambda: tasks[name],
            lambda result: succeeded, checks=None, values=record.values,
        )  # fmt: skip

    # Of the run's own tasks: one may have been removed from the code since.
    reuse = {task.name: reuse_of(task.name) for task in request.spec.tasks}
    dispatch = Dispatch(record, request, store, lambda: tasks)
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
    if not _may_stand(old, work, outcome):
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
    notes = [f"accepted from run {old.request.run_id}"]
    accepted = reuse.outcome(result, work.identity, work.index, work.attempt, notes)
    return accepted._replace(origin="")  # its first copy is here


def _cancelled(work: Work, old: Recorded, reason: str = "") -> Outcome:
    detail = f"run {old.request.run_id} has no result of it to accept"
    return Outcome(
        work.task, work.index, work.attempt, CANCELLED, cause=CANCELLED,
        detail=f"{detail}: {reason}" if reason else detail,
    )  # fmt: skip


def _may_stand(old: Recorded, work: Work, outcome: Outcome) -> bool:
    """Whether a result is of the files that were submitted, whatever code it is of."""
    if not outcome.identity:
        return False
    if not old.progress.tasks[work.task].spec.stood:
        return True
    side = old.side(work.task, work.index)
    return side is not None and outcome.identity == side.inputs.identity(work.index)
