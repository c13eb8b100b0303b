"""Everything in a store, as lines of JSON: to keep, to look at, to read with other programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from attrs import asdict

from ..storage.stores.base import RunRow, Store


def exported(store: Store, runs: Iterable[RunRow]) -> Iterator[str]:
    """Yield, for each run, a line for it, one for each task and one for each indexed element.

    "kind" is "run", "task" or "instance"; docs/reference/json has the schema.
    """
    for run in runs:
        position = store.position(run.run_id)
        yield _line("run", **asdict(run), position=[position.segment, position.offset])
        for task in store.tasks(run.run_id):
            yield _line("task", run_id=run.run_id, **asdict(task))
        for row in store.instances(run.run_id):
            fields = row._asdict()
            fields["value"] = None if row.value is None else json.loads(row.value)
            yield _line("instance", run_id=run.run_id, **fields)


def _line(kind: str, **fields: Any) -> str:
    return json.dumps({"kind": kind, **fields}, separators=(",", ":"))
