"""What stores answer alike, whatever they keep runs in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..errors import UnknownRunError, nearest
from ..states import PENDING
from .base import TaskRow


def unknown_run(run_id: str, known: Sequence[str], where: str) -> UnknownRunError:
    """Say that a store has no run of this id; `known` are its latest, the newest first."""
    # Of a long history the latest are what a person may have meant.
    close = nearest(run_id, known)
    hint = f"did you mean {close!r}? " if close else ""
    latest = f"the latest are {', '.join(known[:3])}" if known else "it knows no run yet"
    return UnknownRunError(f"no run {run_id!r} in the {where}: {hint}({latest})")


def several_runs(run_id: str, found: Sequence[str]) -> UnknownRunError:
    """Say that several ids begin so."""
    names = ", ".join(found[:5]) + (", …" if len(found) > 5 else "")
    return UnknownRunError(f"several runs begin with {run_id!r}: {names}: give more of the id")


def summary_of(
    tasks: Iterable[TaskRow], counted: Mapping[str, Mapping[str, int]]
) -> dict[str, dict[str, int]]:
    """Return by task how many instances are in which state; what is not counted is PENDING."""
    summary = {}
    for task in tasks:
        states = dict(counted.get(task.name, {}))
        rest = (task.size or 0) - sum(states.values())
        if rest > 0:
            states[PENDING] = states.get(PENDING, 0) + rest
        summary[task.name] = states
    return summary
