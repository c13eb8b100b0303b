"""What stores are asked with, checked: states, limits, moments."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone

from ...errors import UnknownRunError, nearest
from ...states import PENDING, RUN_STATES
from .base import QueryError, TaskRow

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def check_states(given: Iterable[str], allowed: Sequence[str]) -> None:
    """Raise `QueryError` unless all given states are allowed ones."""
    for state in given:
        if state not in allowed:
            close = nearest(str(state).upper(), allowed)
            hint = f"did you mean {close!r}? " if close else ""
            raise QueryError(f"no status {state!r}: {hint}(allowed: {', '.join(allowed)})")


def check_limit(limit: object) -> None:
    """Raise `QueryError` unless this is a number of rows, or None for all."""
    if limit is None:
        return
    if isinstance(limit, bool) or not isinstance(limit, int):
        raise QueryError(f"limit must be a whole number or None, not {limit!r}")
    if limit < 0:
        raise QueryError(f"limit must be 0 or more, or None for all runs, not {limit}")


def filters(
    graph_name: str | None, since: str | None, until: str | None, status: str | None
) -> list[tuple[str, object]]:
    """Return what runs are chosen by: pairs of an SQL comparison, up to its value, and that.

    Moments are compared in microseconds since the epoch. Raises `QueryError`.
    """
    found: list[tuple[str, object]] = []
    if graph_name is not None:
        found.append(("graph_name =", graph_name))
    if since is not None:
        found.append(("created >=", microseconds(since, "since")))
    if until is not None:
        found.append(("created <", microseconds(until, "until")))
    if status is not None:
        check_states([status], RUN_STATES)
        found.append(("status =", status))
    return found


def microseconds(text: str, name: str) -> int:
    """Return an ISO-8601 date or datetime as microseconds since the epoch; naive is UTC."""
    # Python 3.10 knows no "Z".
    plain = text[:-1] + "+00:00" if isinstance(text, str) and text[-1:] in "Zz" else text
    try:
        moment = datetime.fromisoformat(plain)
    except (TypeError, ValueError):
        raise QueryError(
            f"{name} must be an ISO-8601 date or datetime such as '2026-04-01' or"
            f" '2026-04-01T12:00:00+02:00', not {text!r}"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return (moment - _EPOCH) // timedelta(microseconds=1)


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


@contextmanager
def collector_paused() -> Iterator[None]:
    """Keep the garbage collector from looking through ten thousand rows as they are made."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
