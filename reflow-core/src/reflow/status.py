"""What `status` says of a run: read from the store and the record, nothing changed."""

from __future__ import annotations

import json
from typing import Any

from .indexing import catch_up, run_row, task_list
from .runrecord import RunRecord
from .standing import Standing
from .states import (
    CACHED,
    CANCELLED,
    FAILED,
    PENDING,
    RUNNING,
    SKIPPED,
    SUBMITTED,
    SUCCESS,
    WAITING,
)
from .stores.base import InstanceRow, RunRow, Store

_ORDER = (SUCCESS, CACHED, RUNNING, SUBMITTED, PENDING, FAILED, SKIPPED, CANCELLED)


def bring_up_to_date(store: Store, record: RunRecord, run: RunRow) -> None:
    """Enter a run into the store as far as its record goes; add it if it is not there."""
    try:
        catch_up(store, record, run.run_id)
    except LookupError:
        request = record.request()
        store.add_run(run_row(request, record.folder, PENDING), task_list(request))
        catch_up(store, record, request.run_id)


def _instance(row: InstanceRow, output: Any) -> dict[str, Any]:
    # Taken apart at once: ten thousand rows are waited for.
    (
        task, index, state, attempt, identity, digest, _, _, cause, detail, origin, job,
        started, ended, _,
    ) = row  # fmt: skip
    return {
        "task_name": task,
        "array_index": index,
        "state": state,
        "attempt": attempt,
        "job_id": job or None,
        "output": output,
        "error_text": detail or None,
        "cause": cause or None,
        "identity": identity,
        "output_hash": digest,
        "cached_from": origin or None,
        "started_at": started or None,
        "ended_at": ended or None,
    }


def status_dict(store: Store, record: RunRecord, run: RunRow) -> dict[str, Any]:
    """Return where a run stands, JSON-safe.

    Keys: "run" (run_id, graph_name, user_id, created_at, status, run_dir, executor,
    parameters), "summary" ({task: {state: count}}), "instances" and
    "failed_instances" (what the store knows of single instances; a value too large to
    be kept inline is None), "notes" (what a person should read).
    """
    bring_up_to_date(store, record, run)
    standing = Standing(record)
    # One decoder call for all values: half the time of one call a value.
    rows = store.instances(run.run_id)
    texts = ",".join(row.value if row.value is not None else "null" for row in rows)
    outputs = json.loads(f"[{texts}]")
    instances = [_instance(row, output) for row, output in zip(rows, outputs, strict=True)]
    return {
        "run": {
            "run_id": run.run_id,
            "graph_name": run.graph_name,
            "user_id": run.user_id,
            "created_at": run.created_at,
            "status": standing.state,
            "run_dir": run.run_dir,
            "executor": run.executor,
            "parameters": dict(run.parameters),
        },
        "summary": {
            task: counts or {PENDING: 1} for task, counts in _summary(store, run.run_id)
        },
        "instances": instances,
        "failed_instances": [one for one in instances if one["state"] == FAILED],
        "notes": _notes(standing, run),
    }


def _notes(standing: Standing, run: RunRow) -> list[str]:
    notes = list(standing.notes)
    if standing.state == WAITING:
        notes.append(
            "nothing carries this run on (its process is gone): "
            f"`reflow retry {run.run_id}` or Run.wait() does"
        )
    return notes


def _summary(store: Store, run_id: str) -> list[tuple[str, dict[str, int]]]:
    """Return how many instances of each task are in which state; of no element: SUCCESS 0."""
    empty = {task.name for task in store.tasks(run_id) if task.array and task.size == 0}
    return [
        (task, {SUCCESS: 0} if task in empty and not counts else counts)
        for task, counts in store.summary(run_id).items()
    ]


def status_text(
    store: Store, record: RunRecord, run: RunRow, *, errors: bool = False
) -> str:
    """Return where a run stands, for people; with `errors`, each failure in full."""
    bring_up_to_date(store, record, run)
    standing = Standing(record)
    lines = [
        f"Run       {run.run_id}",
        f"Workflow  {run.graph_name}",
        f"Status    {standing.state}",
        f"Created   {run.created_at}",
        f"Directory {run.run_dir}",
        "",
    ]
    summary = dict(_summary(store, run.run_id))
    width = max((len(name) for name in summary), default=0)
    for name, counts in summary.items():
        told = [f"{state} {counts[state]}" for state in _ORDER if state in counts]
        lines.append(f"  {name:{width}}  {', '.join(told) or PENDING}")
    failed = store.instances(run.run_id, states=(FAILED,))
    if failed:
        lines.append("")
        for row in failed if errors else failed[:10]:
            place = row.task if row.index is None else f"{row.task}[{row.index}]"
            last = row.detail.rstrip().rpartition("\n")[2]
            lines.append(f"  {place} {row.cause or FAILED}: {last}")
            if errors:
                lines.extend(f"      {line}" for line in row.detail.splitlines())
        if not errors:
            if len(failed) > 10:
                lines.append(f"  … and {len(failed) - 10} more")
            lines.append("  (status(errors=True) or --errors shows the tracebacks)")
    for note in _notes(standing, run):
        lines.extend(["", note])
    return "\n".join(lines)
