"""What stores share about questions: checks of arguments, how runs are selected, and errors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta, timezone

from ...errors import StoreError, UnknownRunError, UnknownTaskError, nearest, unknown_name
from ...states import PENDING, RUN_STATES
from .base import QueryError, TaskRow

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


# Arguments


def check_states(states: Iterable[str], allowed: Sequence[str]) -> None:
    """Raise `QueryError` unless all states are allowed ones."""
    for state in states:
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


def microseconds(text: str, name: str) -> int:
    """Return an ISO-8601 date or datetime as microseconds since the epoch; naive is UTC.

    Raises `QueryError` for any other text, which it calls `name`.
    """
    # Python 3.10 cannot parse "Z".
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


def digest_of(text: str) -> bytes:
    """Return the bytes of an identity or digest in hex. Raises `StoreError` for other text."""
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise StoreError(f"an identity or digest must be given in hex, not as {text!r}") from None


# Runs and their counts


def run_filters(
    graph_name: str | None, since: str | None, until: str | None, status: str | None
) -> list[tuple[str, str | int]]:
    """Return the conditions on runs, as pairs of an SQL comparison up to its value, and the value.

    Moments are compared in microseconds since the epoch. Raises `QueryError`.
    """
    if status is not None:
        check_states([status], RUN_STATES)
    conditions = [
        ("graph_name =", graph_name),
        ("created >=", None if since is None else microseconds(since, "since")),
        ("created <", None if until is None else microseconds(until, "until")),
        ("status =", status),
    ]
    return [(comparison, value) for comparison, value in conditions if value is not None]


def summary_of(
    tasks: Iterable[TaskRow], counts: Mapping[str, Mapping[str, int]]
) -> dict[str, dict[str, int]]:
    """Return by task how many elements are in which state; those not counted are PENDING."""
    summary = {}
    for task in tasks:
        states = dict(counts.get(task.name, {}))
        uncounted = (task.size or 0) - sum(states.values())
        if uncounted > 0:
            states[PENDING] = states.get(PENDING, 0) + uncounted
        summary[task.name] = states
    return summary


# Errors


def unknown_run(run_id: str, latest: Sequence[str], store: str) -> UnknownRunError:
    """Return the error of an unknown id; `latest` are the store's latest runs, newest first."""
    # Of a long history the latest are what a person may have meant.
    close = nearest(run_id, latest)
    hint = f"did you mean {close!r}? " if close else ""
    examples = f"the latest are {', '.join(latest[:3])}" if latest else "it knows no run yet"
    return UnknownRunError(f"no run {run_id!r} in the {store}: {hint}({examples})")


def several_runs(run_id: str, matches: Sequence[str]) -> UnknownRunError:
    """Return the error of a beginning that several ids have."""
    names = ", ".join(matches[:5]) + (", …" if len(matches) > 5 else "")
    return UnknownRunError(f"several runs begin with {run_id!r}: {names}: give more of the id")


def unknown_task(run_id: str, task: str, tasks: Iterable[str]) -> UnknownTaskError:
    """Return the error of a task that a run does not have."""
    return UnknownTaskError(f"run {run_id}: {unknown_name('task', task, tasks)}")
