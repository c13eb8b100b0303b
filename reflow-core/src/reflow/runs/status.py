"""What `status` says of a run: read from the store and the record, nothing changed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from ..engine.run_view import LONGEST_WATCH, Standing
from ..errors import UnknownTaskError, unknown_name
from ..states import FAILED, PENDING, RUNNING, SUBMITTED, SUCCESS, WAITING, in_order
from ..storage.indexing import catch_up, run_row, task_list
from ..storage.run_directory import RunRecord, RunRequest
from ..storage.stores.base import InstanceRow, RunRow, Store
from .describe import TaskDescription
from .instance_view import Instances
from .resolve import RUN_DIR_TYPE

_SHOWN = 50
"""So many instances of a task are listed."""


def bring_up_to_date(store: Store, record: RunRecord, run: RunRow) -> None:
    """Enter a run into the store as far as its record goes; add it if it is not there."""
    try:
        catch_up(store, record, run.run_id)
    except LookupError:
        request = record.request()
        store.add_run(run_row(request, record.folder, PENDING), task_list(request))
        catch_up(store, record, request.run_id)


def _instance(row: InstanceRow, output: Any, ids: Mapping[str, str]) -> dict[str, Any]:
    # Taken apart at once: ten thousand rows are waited for.
    (
        task, index, state, attempt, identity, digest, _, _, cause, detail, origin, job,
        started, ended, _, _,
    ) = row  # fmt: skip
    return {
        "task_name": task,
        "array_index": index,
        "state": state,
        "attempt": attempt,
        "job_id": ids.get(job, job) or None,
        "output": output,
        "error_text": detail or None,
        "cause": cause or None,
        "identity": identity,
        "output_hash": digest,
        "cached_from": origin or None,
        "started_at": started or None,
        "ended_at": ended or None,
    }


def status_dict(
    store: Store, record: RunRecord, run: RunRow, *, task: str | None = None
) -> dict[str, Any]:
    """Return where a run stands, JSON-safe.

    Keys: "run" (run_id, graph_name, user_id, created_at, status, run_dir, executor,
    parameters), "summary" ({task: {state: count}}), "instances" and
    "failed_instances" (single instances that have ended or are in a scheduler's hands; a value
    too large to be kept inline is None), "notes" (what a person should read), "jobs" (those on
    record as in a scheduler's hands: job_id, tag, role, task_name, elements, waits_for) and
    "scheduler_calls" ({command: times} of all dispatch passes).
    """
    standing = Standing(record)
    now = Instances(record, standing)
    # After it: what is told of the elements must not lag behind what is told of the run.
    bring_up_to_date(store, record, run)
    # One decoder call for all values: half the time of one call a value.
    rows = now.rows(store, run.run_id, task)
    texts = ",".join(row.value if row.value is not None else "null" for row in rows)
    outputs = json.loads(f"[{texts}]")
    instances = [
        _instance(row, output, standing.ids) for row, output in zip(rows, outputs, strict=True)
    ]
    return {
        "run": {
            "run_id": run.run_id,
            "graph_name": run.graph_name,
            "user_id": run.user_id,
            "created_at": run.created_at,
            "status": standing.state,
            "run_dir": run.run_dir,
            "executor": standing.place or run.executor,
            "parameters": dict(run.parameters),
        },
        "summary": {
            name: states or {PENDING: 1} for name, states in _summary(now, store, run.run_id, task)
        },
        "instances": instances,
        "failed_instances": [one for one in instances if one["state"] == FAILED],
        "notes": _notes(standing, run),
        "jobs": [
            {
                "job_id": job or None,
                "tag": tag,
                "role": standing.intents[tag].role,
                "task_name": standing.intents[tag].task or None,
                "elements": len(standing.intents[tag].indices),
                "waits_for": standing.waiting.get(tag) or None,
            }
            for tag, job in standing.jobs.items()
        ],
        "scheduler_calls": dict(standing.calls),
    }


def notes_of(standing: Standing) -> list[str]:
    """Return what a person should read of a run, whether or not anybody carries it on."""
    notes = list(standing.notes)
    for tag, reason in standing.waiting.items():
        if not reason or not tag:
            continue
        if tag not in standing.intents:
            if standing.finished is None:
                notes.append(f"not all of {tag} could be submitted yet: {reason}")
        else:
            task = standing.intents[tag].task or standing.intents[tag].role
            notes.append(f"job {standing.jobs.get(tag)} ({task}) does not start: {reason}")
    return notes


def _notes(standing: Standing, run: RunRow) -> list[str]:
    notes = notes_of(standing)
    if standing.asked > standing.epoch and standing.intents:
        notes.append(
            "it was asked to cancel or retry, which the next dispatch pass carries out; "
            f"`reflow status {run.run_id} --refresh` runs one"
        )
    stuck = standing.waiting.get("", "")
    # 0: left by one who had no room for a word.
    silent = time.time() - standing.seen_at if standing.seen_at else 0.0
    if standing.intents and standing.state in (PENDING, RUNNING) and not standing.held and (
        silent > 2 * LONGEST_WATCH
    ):
        notes.append(
            f"no job has looked after this run for {silent / 3600:.0f} hours: they wait in the "
            f"queue, or have come to nothing; `reflow status {run.run_id} --refresh` finds out "
            f"(what they print is in {run.record}/jobs)"
        )
    if standing.state == WAITING and stuck:
        notes.append(
            f"jobs of this run may not submit others ({stuck}): type "
            f"`reflow status {run.run_id} --refresh` where jobs may be submitted, have cron do "
            "it, or wait with `submit --wait`; or set dispatch_queue to a queue that may submit"
        )
    elif standing.state == WAITING:
        notes.append(
            "nothing carries this run on (its process is gone): "
            f"`reflow retry {run.run_id}` or Run.wait() does"
        )
    return notes


def counts(store: Store, record: RunRecord, run: RunRow) -> dict[str, dict[str, int]]:
    """Return by task, in order, how many instances are in which state."""
    now = Instances(record, Standing(record))
    bring_up_to_date(store, record, run)
    return dict(_summary(now, store, run.run_id))


def _summary(
    now: Instances, store: Store, run_id: str, only: str | None = None
) -> list[tuple[str, dict[str, int]]]:
    """Return how many instances of each task are in which state; of no element: SUCCESS 0."""
    empty = {task.name for task in store.tasks(run_id) if task.array and task.size == 0}
    found = now.summary(store, run_id)
    if only is not None and only not in found:
        raise UnknownTaskError(unknown_name("task", only, found))
    return [
        (task, {SUCCESS: 0} if task in empty and not states else states)
        for task, states in found.items()
        if only in (None, task)
    ]


def describe_run(request: RunRequest) -> dict[str, Any]:
    """Return what was asked of a run, and its tasks, JSON-safe.

    Keys: "run" (run_id, graph_name, user_id, created_at, run_dir, executor,
    executor_settings, options, parameters, python, entrypoint) and "tasks" (as
    `Workflow.describe` has them, without what only the code knows: "doc" is "").
    """
    given, options = request.parameters, request.options
    tasks = []
    for task in request.spec.tasks:
        names = [one.parameter for one in task.constants if one.type != RUN_DIR_TYPE]
        described = TaskDescription(
            name=task.name,
            array=task.array,
            doc="",
            returns=task.returns,
            parameters=tuple(
                full if (full := f"{task.name}_{name}") in given else name for name in names
            ),
            wires=task.wires,
            after=task.after,
            upstreams=task.upstreams,
            resources=task.resources,
            cache=task.cache,
            version=task.version,
            code=task.code,
            array_parallelism=task.array_parallelism,
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
            "options": {
                "force": options.force,
                "force_tasks": list(options.force_tasks),
                "verify": options.verify,
                "on_error": options.on_error,
                "max_workers": options.max_workers,
            },
            "parameters": dict(given),
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
    how often the scheduler's commands were called by dispatch passes. With `task` it is about
    that task, and lists its instances. `paint` may dress up a state, such as in a colour.
    """
    standing = Standing(record)
    now = Instances(record, standing)
    # After it: what is told of the elements must not lag behind what is told of the run.
    bring_up_to_date(store, record, run)
    lines = [
        f"Run       {run.run_id}",
        f"Workflow  {run.graph_name}",
        f"Status    {paint(standing.state)}",
        f"Created   {run.created_at}",
        f"Directory {run.run_dir}",
        "",
    ]
    summary = dict(_summary(now, store, run.run_id, task))
    width = max((len(name) for name in summary), default=0)
    for name, states in summary.items():
        told = [f"{paint(state)} {states[state]}" for state in in_order(states)]
        lines.append(f"  {name:{width}}  {', '.join(told) or paint(PENDING)}")
    if task is not None:
        lines.extend(_instance_lines(now.rows(store, run.run_id, task), standing.ids, paint))
    failed = now.rows(store, run.run_id, task, (FAILED,))
    if failed:
        lines.append("")
        for row in failed if errors else failed[:10]:
            last = row.detail.rstrip().rpartition("\n")[2]
            lines.append(f"  {_place(row)} {row.cause or FAILED}: {last}")
            if errors:
                lines.extend(f"      {line}" for line in row.detail.splitlines())
        if not errors:
            if len(failed) > 10:
                lines.append(f"  … and {len(failed) - 10} more")
            lines.append("  (status(errors=True) or --errors shows the tracebacks)")
    if verbose:
        lines.extend(_job_lines(standing))
    for note in _notes(standing, run):
        lines.extend(["", note])
    return "\n".join(lines)


def _job_lines(standing: Standing) -> list[str]:
    lines = [""]
    for tag, job in standing.jobs.items():
        intent = standing.intents[tag]
        size = f", {len(intent.indices)} elements" if len(intent.indices) > 1 else ""
        lines.append(f"  job {job or 'in doubt'}: {intent.task or intent.role}{size} ({tag})")
    if standing.retried:
        told = [f"{task} {cause} {n}" for (task, cause), n in sorted(standing.retried.items())]
        lines.append(f"Tried again      {', '.join(told)}")
    jobs = len(standing.intents)
    calls = [f"{name} {n}" for name, n in sorted(standing.calls.items())]
    total = sum(standing.calls.values())
    told_calls = [f"({', '.join(calls)})"] if calls else []
    lines.append(f"Jobs             {jobs} submitted, {len(standing.jobs)} in the queue")
    lines.append(f"Scheduler calls  {' '.join([str(total), *told_calls])}")
    return lines


def _place(row: InstanceRow) -> str:
    return row.task if row.index is None else f"{row.task}[{row.index}]"


def _instance_lines(
    rows: list[InstanceRow], ids: Mapping[str, str], paint: Callable[[str], str]
) -> list[str]:
    if not rows:
        return []
    width = max(len(_place(row)) for row in rows[:_SHOWN])
    lines = [""]
    for row in rows[:_SHOWN]:
        state = paint(row.state) + " " * (9 - len(row.state))
        told = [f"{_place(row):{width}}", state]
        if row.attempt:
            told.append(f"attempt {row.attempt}")
        if row.state in (SUBMITTED, RUNNING):
            told.append(f"job {ids.get(row.job) or 'in doubt'}")
        if row.ended and row.started:
            told.append(f"{row.ended - row.started:.1f} s")
        if row.origin:
            told.append(f"from {row.origin}")
        lines.append(f"  {'  '.join(told)}".rstrip())
    if len(rows) > _SHOWN:
        lines.append(f"  … and {len(rows) - _SHOWN} more (all of them as JSON)")
    return lines
