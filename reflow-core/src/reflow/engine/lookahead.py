"""What can be queued behind jobs that have not ended yet, and what its workers must await. Pure.

A task can be submitted ahead when its elements are known and all that they need has a
value or is in the hands of a job: the scheduler then starts it when those jobs have ended,
and its workers read their inputs from the record. What a worker would have to read too
much for (the whole of an array, in each of many elements) waits for a dispatch pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from attrs import field, frozen

from ..caching.file_marks import marks_of
from ..model.spec import TaskSpec, Wire
from ..storage.blobs import Values
from ..storage.outcome import Outcome
from .planner import Progress, TaskState

MAX_AHEAD = 2
"""Attempts of an element that may be queued ahead. One that found its inputs missing comes to
nothing; after so many it waits for them, whatever the scheduler makes of dependencies."""


def is_static(task: TaskSpec, tasks: Mapping[str, TaskSpec]) -> bool:
    """Whether a task's elements are known before the values it receives are."""
    for wire in task.wires:
        if wire.each and not wire.chained:
            return False  # as many elements as there are items
        if task.array and not wire.each and any(source.array for source in wire.sources):
            return False  # each element would read a whole array
    return not (task.array and any(tasks[name].array for name in task.after))


@frozen(kw_only=True)
class Ahead:
    """One job to submit ahead: its elements, and the tags of the jobs that must have ended.

    Position p of the job needs nothing but position p of the job tagged `each`, where that
    is given, and all of the jobs tagged `after`.
    """

    state: TaskState = field(eq=False)
    indices: tuple[int, ...]
    after: tuple[str, ...]
    each: str = ""


def ahead(
    progress: Progress, maps: Mapping[str, tuple[int, ...]], *, elementwise: bool
) -> Iterator[Ahead]:
    """Yield what can be submitted now behind jobs that are under way.

    `maps` has the elements of each job by its tag, in the order of its positions.
    Everything that is ready must have been submitted before. Meant to be asked again after
    what it yielded was submitted: what is behind that comes then.
    """
    specs = {name: state.spec for name, state in progress.tasks.items()}
    for state in progress.tasks.values():
        if state.closed or state.size is None or not is_static(state.spec, specs):
            continue
        after = _under_way(state.barriers)
        if after is not None:
            yield from _behind(state, after, maps, elementwise)


def _behind(
    state: TaskState,
    after: tuple[str, ...],
    maps: Mapping[str, tuple[int, ...]],
    elementwise: bool,
) -> Iterator[Ahead]:
    """Yield the jobs of one task; all of them wait for the jobs tagged `after`."""
    free = [index for index in state.free() if state.starts(index) < MAX_AHEAD]
    for chained, indices in _by_jobs_above(state, free).items():
        if not (chained or after):
            continue  # they are ready, and were held back for a reason
        # Position by position the scheduler can only wait where both jobs have the same map.
        tag = chained[0] if elementwise and len(chained) == 1 and len(indices) > 1 else ""
        if tag and sorted(maps[tag]) == indices:
            yield Ahead(state=state, indices=maps[tag], after=after, each=tag)
        else:
            tags = tuple(dict.fromkeys((*chained, *after)))
            yield Ahead(state=state, indices=tuple(indices), after=tags)


def _under_way(tasks: list[TaskState]) -> tuple[str, ...] | None:
    """Return the tags of the jobs that still work on these tasks; None if any cannot succeed
    or has something that is in nobody's hands."""
    tags: dict[str, None] = {}  # a set in order
    for task in tasks:
        if task.succeeded():
            continue
        # "" is in the hands of this very process, which no scheduler can wait for.
        if task.closed or task.is_idle() or "" in task.flying.values():
            return None
        tags.update(dict.fromkeys(task.flying.values()))
    return tuple(tags)


def _by_jobs_above(state: TaskState, indices: list[int]) -> dict[tuple[str, ...], list[int]]:
    """Group elements by the jobs that have what they are chained to in hand; () for none.

    Left out are those whose element above has failed or is in nobody's hands.
    """
    groups: dict[tuple[str, ...], list[int]] = {}
    for index in indices:
        tags = [
            above.flying.get(index, "") for above in state.chains if not above.has_value(index)
        ]
        if "" not in tags:
            groups.setdefault(tuple(dict.fromkeys(tags)), []).append(index)
    return groups


def awaited(progress: Progress, values: Values, state: TaskState) -> dict[str, Any]:
    """Return what all workers of a task read to find their inputs; JSON-safe.

    "common" are the texts of run parameters; "wires" lists, in order, for each wire that
    is not `each` its `parameter`, whether it is `listed`, and its `sources`: the `items`,
    each a text that is known (an object of its `text` and the `marks` of its files, where it
    names any) or an [index, attempt] whose outcome is awaited, `flatten` and `task`; of a wire
    that is `each` the parameter and the task alone, as the items are in the position map.
    "after" lists what must have succeeded besides. "again" names the tasks whose failures may
    not be final.
    """
    spec = state.spec
    return {
        "common": {constant.parameter: constant.text for constant in spec.constants},
        "wires": [_wire(progress, values, wire) for wire in spec.wires],
        "after": [
            {"task": name, "items": _items(progress.tasks[name], None)} for name in spec.after
        ],
        "again": [name for name in spec.upstreams if progress.tasks[name].spec.retry],
    }


def _wire(progress: Progress, values: Values, wire: Wire) -> dict[str, Any]:
    if wire.each:
        return {"parameter": wire.parameter, "each": True, "task": wire.sources[0].task}
    return {
        "parameter": wire.parameter,
        "each": False,
        "listed": wire.listed,
        "sources": [
            {
                "task": source.task,
                "flatten": source.flatten,
                "items": _items(progress.tasks[source.task], values),
            }
            for source in wire.sources
        ],
    }


def _items(state: TaskState, values: Values | None) -> list[Any]:
    """Return each element's text, where it is there, or [index, attempt] where it is awaited.

    Without `values` only what is awaited.
    """
    items: list[Any] = []
    for index, outcome in enumerate(state.outcomes):
        if outcome is None:
            items.append([index, state.tries[index]])
        elif values is not None:
            items.append(_item(values, outcome))
    return items


def _item(values: Values, outcome: Outcome) -> str | dict[str, Any]:
    text, marks = values.text(outcome), marks_of(outcome)
    return {"text": text, "marks": marks} if marks else text


def position_items(
    progress: Progress, values: Values, state: TaskState, index: int
) -> dict[str, Any]:
    """Return, by parameter, the items that one element receives over its `each` wires."""
    items: dict[str, Any] = {}
    for wire in state.spec.wires:
        if wire.each:
            above = progress.tasks[wire.sources[0].task]
            outcome = above.outcomes[index]
            items[wire.parameter] = (
                [index, above.tries[index]] if outcome is None else _item(values, outcome)
            )
    return items
