"""Everything in a store, as lines of JSON: to keep, to look at, to read with other programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from ..storage.stores.base import RunRow, Store


def exported(store: Store, runs: Iterable[RunRow]) -> Iterator[str]:
    """Yield, for each run, a line for it, one for each task and one for each indexed element.

    "kind" is "run", "task" or "instance"; docs/reference/json has the schema.
    """
    for run in runs:
        position = store.position(run.run_id)
        yield _line(
            "run",
            run_id=run.run_id,
            graph_name=run.graph_name,
            user_id=run.user_id,
            created_at=run.created_at,
            run_dir=run.run_dir,
            record=run.record,
            status=run.status,
            parameters=dict(run.parameters),
            executor=run.executor,
            position=[position.segment, position.offset],
        )
        for task in store.tasks(run.run_id):
            yield _line(
                "task", run_id=run.run_id, name=task.name, array=task.array, size=task.size
            )
        for row in store.instances(run.run_id):
            yield _line(
                "instance",
                run_id=run.run_id,
                task=row.task,
                index=row[1],  # `index` by name is a method of tuples to mypy
                state=row.state,
                attempt=row.attempt,
                identity=row.identity,
                digest=row.digest,
                value=None if row.value is None else json.loads(row.value),
                spilled=row.spilled,
                cause=row.cause,
                detail=row.detail,
                origin=row.origin,
                job=row.job,
                started=row.started,
                ended=row.ended,
                paths=list(row.paths),
                prints=list(row.prints),
            )


def _line(kind: str, **fields: Any) -> str:
    return json.dumps({"kind": kind, **fields}, separators=(",", ":"))
