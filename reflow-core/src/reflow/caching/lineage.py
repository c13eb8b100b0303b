"""The lineage of an element: a name for it before its identity is known. Pure.

The identity of an element is made of the values that it receives (`caching.identity`), so that of
what is queued behind a job that still runs nobody knows. Its lineage is made of the tasks that
lead to it and the run parameters that these take. Equal lineages mean equal identities where
all that is above them gives the same values again; nothing but waiting for each other depends
on it. Apart from identities, because no worker asks for a lineage.
"""

from __future__ import annotations

from collections.abc import Callable

from ..model.spec import TaskSpec, WorkflowSpec
from ..values.hashing import digest
from ..values.json_codec import dump
from .identity import identity_parts

SCHEME = "reflow-lineage-1"
"""Part of every lineage; changes when the way of hashing does."""


def task_lineages(
    workflow: WorkflowSpec, counts: Callable[[TaskSpec], bool]
) -> dict[str, str]:
    """Return the lineage that the elements of each task share, by name.

    It is "" for a task, and for all below it, whose results are not to be used again:
    `counts` says whether they are.
    """
    lineages: dict[str, str] = {}
    for task in workflow.tasks:
        wires = []
        for wire in task.wires:
            sources = [
                [lineages[source.task], source.array, source.flatten] for source in wire.sources
            ]
            wires.append([wire.parameter, wire.each, wire.listed, sources])
        has_one = counts(task) and all(lineages[name] for name in task.upstreams)
        text = dump([SCHEME, identity_parts(task), wires])
        lineages[task.name] = digest(text) if has_one else ""
    return lineages


def element_lineage(task: str, index: int) -> str:
    """Return the lineage of one element of the task that has this one, "" where it has none.

    It differs in its first six bytes: stores may look for no more.
    """
    return f"{int(task[:12], 16) ^ index:012x}{task[12:]}" if task else ""
