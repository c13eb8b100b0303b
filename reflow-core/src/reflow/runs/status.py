"""What `status` says of a run: read from the store and the record, nothing changed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from attrs import fields

from ..engine.replay import JobState
from ..engine.run_view import LONGEST_WATCH, RunView
from ..errors import UnknownTaskError, unknown_name
from ..model.spec import ResolvedTask
from ..states import (
    FAILED,
    INSTANCE_STATES,
    PENDING,
    RUNNING,
    SUBMITTED,
    SUCCESS,
    WAITING,
    in_order,
)
from ..storage.indexing import catch_up, run_row, task_list
from ..storage.job_reports import JobReport, read_reports
from ..storage.run_directory import RunRecord, RunRequest
from ..storage.stores.base import InstanceRow, RunRow, Store
from ..values.codec import unstructure
from .describe import TaskDescription
from .instance_view import Instances, element_name
from .resolve import RUN_DIR_TYPE

_LISTED_ELEMENTS, _LISTED_FAILURES = 50, 10
"""How many elements of a task, and how many failures, the text lists."""

_Reports: TypeAlias = Mapping[tuple[str, int, int], JobReport]
"""What schedulers said, by task, index and attempt."""

_STATE_WIDTH = max(map(len, INSTANCE_STATES))


def bring_up_to_date(store: Store, record: RunRecord, run: RunRow) -> None:
    """Enter a run into the store as far as its record goes; add it if it is not there."""
    try:
        catch_up(store, record, run.run_id)
    except LookupError:
        request = record.request()
        store.add_run(run_row(request, record.folder, PENDING), task_list(request))
        catch_up(store, record, request.run_id)


def _look_at(store: Store, record: RunRecord, run: RunRow) -> tuple[RunView, Instances]:
    """Return where a run and its elements stand; the store is brought up to date."""
    view = RunView(record)
    elements = Instances(record, view)
    # Last: the elements must not lag behind what is said of the run.
    bring_up_to_date(store, record, run)
    return view, elements


def _element(
    row: InstanceRow, output: Any, job_ids: Mapping[str, str], reports: _Reports
) -> dict[str, Any]:
    # Unpacked at once: a person waits for ten thousand rows.
    (
        task, index, state, attempt, identity, digest, _, _, cause, detail, origin, job,
        started, ended, _, _,
    ) = row  # fmt: skip
    return {
        "task_name": task,
        "array_index": index,
        "state": state,
        "attempt": attempt,
        "job_id": job_ids.get(job, job) or None,
        "output": output,
        "error_text": detail or None,
        "cause": cause or None,
        "identity": identity,
        "output_hash": digest,
        "cached_from": origin or None,
        "started_at": started or None,
        "ended_at": ended or None,
        "scheduler": _report(reports.get((task, index or 0, attempt))),
    }


def _report(report: JobReport | None) -> dict[str, Any] | None:
    if report is None:
        return None
    return {
        "nodes": list(report.nodes),
        "exit_code": report.exit_code,
        "signal": report.signal,
        "started_at": report.started,
        "ended_at": report.ended,
    }


def status_dict(
    store: Store, record: RunRecord, run: RunRow, *, task: str | None = None
) -> dict[str, Any]:
    """Return where a run stands, JSON-safe.

    Keys: "run" (run_id, graph_name, user_id, created_at, status, run_dir, executor,
    parameters), "summary" ({task: {state: count}}), "instances" and
    "failed_instances" (single elements that have ended or are in a scheduler's hands; a value
    too large to be kept inline is None; "scheduler": what the scheduler said of its job, or None),
    "notes" (what a person should read), "jobs" (those on
    record as in a scheduler's hands: job_id, tag, role, task_name, elements, waits_for) and
    "scheduler_calls" ({command: times} of all dispatch passes).
    """
    view, elements = _look_at(store, record, run)
    rows = elements.rows(store, run.run_id, task)
    # One decoder call for all values takes half the time of one call a value.
    texts = ",".join(row.value if row.value is not None else "null" for row in rows)
    outputs = json.loads(f"[{texts}]")
    job_ids, reports = _job_ids(view), read_reports(record.files, record.folder)
    instances = [
        _element(row, output, job_ids, reports) for row, output in zip(rows, outputs, strict=True)
    ]
    return {
        "run": {
            "run_id": run.run_id,
            "graph_name": run.graph_name,
            "user_id": run.user_id,
            "created_at": run.created_at,
            "status": view.state,
            "run_dir": run.run_dir,
            "executor": view.replay.place[0] or run.executor,
            "parameters": dict(run.parameters),
        },
        "summary": {
            name: states or {PENDING: 1}
            for name, states in _summary(elements, store, run.run_id, task).items()
        },
        "instances": instances,
        "failed_instances": [element for element in instances if element["state"] == FAILED],
        "notes": [*notes_of(view), *_advice(view, run)],
        "jobs": [_job(job) for job in view.replay.queued()],
        "scheduler_calls": dict(view.replay.calls),
    }


def _job(job: JobState) -> dict[str, Any]:
    intent = job.intent
    return {
        "job_id": job.job or None,
        "tag": intent.tag,
        "role": intent.role,
        "task_name": intent.task or None,
        "elements": len(intent.indices),
        "waits_for": job.waiting or None,
    }


def _job_ids(view: RunView) -> dict[str, str]:
    return {job.intent.tag: job.job for job in view.replay.submitted()}


def notes_of(view: RunView) -> list[str]:
    """Return what a person should read of a run, whether or not any process carries it on."""
    replay = view.replay
    notes = list(replay.notes)
    if replay.finished is None:
        notes += [
            f"not all of {task} could be submitted yet: {reason}"
            for task, reason in replay.held_back.items()
            if reason
        ]
    notes += [
        f"job {job.job} ({job.intent.task or job.intent.role}) does not start: {job.waiting}"
        for job in replay.queued()
        if job.waiting
    ]
    return notes


def _advice(view: RunView, run: RunRow) -> Iterator[str]:
    """Yield what a person may have to do so that a run goes on."""
    refresh = f"`reflow status {run.run_id} --refresh`"
    if view.is_asked and view.replay.submitted():
        yield (
            "a cancel or retry was requested; the next dispatch pass carries it out, and "
            f"{refresh} runs one now"
        )
    hours = _hours_of_silence(view)
    if hours:
        yield (
            f"no job of this run has reported for {hours:.0f} hours: its jobs still wait in the "
            f"queue, or they died; {refresh} finds out (their output is in {run.record}/jobs)"
        )
    if view.state != WAITING:
        return
    refusal = view.replay.stuck
    if refusal:
        yield (
            f"jobs of this run may not submit further jobs ({refusal}): run {refresh} on a host "
            "that may submit, let cron run it there, or wait with `submit --wait`; or set "
            "dispatch_queue to a queue whose jobs may submit"
        )
    else:
        yield (
            "this run has stopped because its process is gone: "
            f"`reflow retry {run.run_id}` or Run.wait() continues it"
        )


def _hours_of_silence(view: RunView) -> float:
    """Return for how long no pass has run where one must have; 0 where all is well."""
    going_on = view.state in (PENDING, RUNNING) and not view.held
    # No sign at all (0) is left by a pass that found no room on the disk for one.
    if not view.replay.submitted() or not going_on or not view.seen_at:
        return 0.0
    silence = time.time() - view.seen_at
    return silence / 3600 if silence > 2 * LONGEST_WATCH else 0.0


def counts(store: Store, record: RunRecord, run: RunRow) -> dict[str, dict[str, int]]:
    """Return by task, in order, how many elements are in which state."""
    _, elements = _look_at(store, record, run)
    return _summary(elements, store, run.run_id)


def _summary(
    elements: Instances, store: Store, run_id: str, only: str | None = None
) -> dict[str, dict[str, int]]:
    """Return by task how many elements are in which state; SUCCESS 0 for an empty array."""
    empty = {task.name for task in store.tasks(run_id) if task.array and task.size == 0}
    summary = elements.summary(store, run_id)
    if only is not None and only not in summary:
        raise UnknownTaskError(unknown_name("task", only, summary))
    return {
        task: {SUCCESS: 0} if task in empty and not states else states
        for task, states in summary.items()
        if only in (None, task)
    }


def describe_run(request: RunRequest) -> dict[str, Any]:
    """Return what was asked of a run, and its tasks, JSON-safe.

    Keys: "run" (run_id, graph_name, user_id, created_at, run_dir, executor,
    executor_settings, options, parameters, python, entrypoint) and "tasks" (as
    `Workflow.describe` has them, without what only the code knows: "doc" is "").
    """
    tasks = []
    for task in request.spec.tasks:
        names = [
            constant.parameter for constant in task.constants if constant.type != RUN_DIR_TYPE
        ]
        described = TaskDescription(
            **{field.name: getattr(task, field.name) for field in fields(ResolvedTask)},
            parameters=tuple(
                full if (full := f"{task.name}_{name}") in request.parameters else name
                for name in names
            ),
        )
        tasks.append(described.to_dict())
    return {
        "run": {
            "run_id": request.run_id,
            "graph_name": request.spec.name,
            "user_id": request.user,
            "created_at": request.created_at,
            "run_dir": request.run_dir,
            "executor": request.executor,
            "executor_settings": dict(request.executor_settings),
            "options": unstructure(request.options),
            "parameters": dict(request.parameters),
            "python": request.python,
            "entrypoint": {
                "kind": request.entrypoint.kind,
                "target": request.entrypoint.target,
                "directory": request.entrypoint.directory,
            },
        },
        "tasks": tasks,
    }

def status_text(
    store: Store,
    record: RunRecord,
    run: RunRow,
    *,
    errors: bool = False,
    task: str | None = None,
    verbose: bool = False,
    paint: Callable[[str], str] = str,
) -> str:
    """Return where a run stands, for people; with `errors`, each failure in full.

    With `verbose` it lists the jobs that a scheduler has in hand, what was tried again, and
    how often dispatch passes called the scheduler's commands. With `task` it is about
    that task, and lists its elements. `paint` may decorate a state, such as with a colour.
    """
    view, elements = _look_at(store, record, run)
    summary = _summary(elements, store, run.run_id, task)
    lines = [
        f"Run       {run.run_id}",
        f"Workflow  {run.graph_name}",
        f"Status    {paint(view.state)}",
        f"Created   {run.created_at}",
        f"Directory {run.run_dir}",
        "",
        *_summary_lines(summary, paint),
    ]
    if task is not None:
        reports = read_reports(record.files, record.folder)
        rows = elements.rows(store, run.run_id, task)
        lines += _element_lines(rows, _job_ids(view), reports, paint)
    lines += _failure_lines(elements.rows(store, run.run_id, task, (FAILED,)), in_full=errors)
    if verbose:
        lines += _job_lines(view)
    for note in (*notes_of(view), *_advice(view, run)):
        lines += ["", note]
    return "\n".join(lines)


def _summary_lines(
    summary: Mapping[str, Mapping[str, int]], paint: Callable[[str], str]
) -> Iterator[str]:
    width = max(map(len, summary), default=0)
    for task, states in summary.items():
        parts = [f"{paint(state)} {states[state]}" for state in in_order(states)]
        yield f"  {task:{width}}  {', '.join(parts) or paint(PENDING)}"


def _failure_lines(failures: Sequence[InstanceRow], *, in_full: bool) -> list[str]:
    if not failures:
        return []
    lines = [""]
    for row in failures if in_full else failures[:_LISTED_FAILURES]:
        last_line = row.detail.rstrip().rpartition("\n")[2]
        lines.append(f"  {element_name(row.task, row.index)} {row.cause or FAILED}: {last_line}")
        if in_full:
            lines += [f"      {line}" for line in row.detail.splitlines()]
    if not in_full:
        if len(failures) > _LISTED_FAILURES:
            lines.append(f"  … and {len(failures) - _LISTED_FAILURES} more")
        lines.append("  (status(errors=True) or --errors shows the tracebacks)")
    return lines


def _job_lines(view: RunView) -> list[str]:
    lines = [""]
    replay = view.replay
    queued = replay.queued()
    for job in queued:
        intent = job.intent
        size = f", {len(intent.indices)} elements" if len(intent.indices) > 1 else ""
        name = intent.task or intent.role
        lines.append(f"  job {job.job or 'in doubt'}: {name}{size} ({intent.tag})")
    if replay.retried:
        retried = sorted(replay.retried.items())
        texts = [f"{task} {cause} {count}" for (task, cause), count in retried]
        lines.append(f"Tried again      {', '.join(texts)}")
    calls = ", ".join(f"{command} {count}" for command, count in sorted(replay.calls.items()))
    of_them = f" ({calls})" if calls else ""
    return [
        *lines,
        f"Jobs             {len(replay.submitted())} submitted, {len(queued)} in the queue",
        f"Scheduler calls  {sum(replay.calls.values())}{of_them}",
    ]


def _element_lines(
    rows: Sequence[InstanceRow],
    job_ids: Mapping[str, str],
    reports: _Reports,
    paint: Callable[[str], str],
) -> list[str]:
    if not rows:
        return []
    names = [element_name(row.task, row.index) for row in rows[:_LISTED_ELEMENTS]]
    width = max(map(len, names))
    lines = [""]
    for name, row in zip(names, rows, strict=False):
        # Padded by hand: a painted state is longer than it looks.
        state = paint(row.state) + " " * (_STATE_WIDTH - len(row.state))
        parts = [f"{name:{width}}", state, *_element_parts(row, job_ids)]
        report = reports.get((row.task, row.index or 0, row.attempt))
        if report is not None:
            parts += _report_parts(report)
        lines.append(f"  {'  '.join(parts)}".rstrip())
    if len(rows) > len(names):
        lines.append(f"  … and {len(rows) - len(names)} more (--json lists all of them)")
    return lines


def _element_parts(row: InstanceRow, job_ids: Mapping[str, str]) -> Iterator[str]:
    if row.attempt:
        yield f"attempt {row.attempt}"
    if row.state in (SUBMITTED, RUNNING):
        yield f"job {job_ids.get(row.job) or 'in doubt'}"
    if row.ended and row.started:
        yield f"{row.ended - row.started:.1f} s"
    if row.origin:
        yield f"from {row.origin}"


def _report_parts(report: JobReport) -> Iterator[str]:
    if report.nodes:
        yield f"on {', '.join(report.nodes)}"
    if report.signal:
        yield f"signal {report.signal}"
    elif report.exit_code:
        yield f"exit code {report.exit_code}"
