"""What schedulers tell of jobs, where several tell it alike."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime

from attrs import evolve

from ..states import MEMORY_SUSPECTED, UNKNOWN
from .base import LIVE, JobStatus

_log = logging.getLogger(__name__)


def only_id(command: str, text: str, found: Iterable[str]) -> str:
    """Return the one id that was found in what a command printed; else raise `ValueError`.

    A site's greeting may stand before it, or after.
    """
    ids = list(found)
    if len(ids) != 1:
        raise ValueError(f"{command} printed no job id: {text.strip()[:200]!r}")
    return ids[0]


def size_in(pattern: str, text: str) -> int | None:
    """Return the size (1 at the least) that the group of `pattern` is in a text of many lines."""
    found = re.search(pattern, text, re.MULTILINE)
    return max(1, int(found[1])) if found else None


def array_status(positions: Mapping[int, JobStatus], others: Iterable[JobStatus] = ()) -> JobStatus:
    """Return the status of an array by that of its positions, and of `others` without a number.

    It lives while any position lives, and has the cause of one that did not end well. One
    position or other at the least must be there.
    """
    every = [*positions.values(), *others]
    living = [one for one in every if one.state == LIVE]
    first = [*living, *(one for one in every if one.cause), *every][0]
    running = any(one.running for one in living)
    return evolve(first, running=running, positions=positions)


def ended_badly(code: int | None, signal: int | None) -> str:
    """Say how a process has ended, of which nobody knows more.

    >>> ended_badly(3, None), ended_badly(None, 9)
    ('exit code 3', 'killed by signal 9: memory suspected')
    """
    suspected = f": {MEMORY_SUSPECTED}" if signal == 9 else ""
    return f"killed by signal {signal}{suspected}" if signal else f"exit code {code}"


def iso_time(text: str) -> float | None:
    """Return a local time in ISO form as seconds since the epoch; None for what is none."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def warn_of_unknown(told: Mapping[str, JobStatus], known: Collection[str] = ()) -> None:
    """Warn of jobs in a state that reflow does not know; the raw states in `known` it does."""
    for job, status in told.items():
        for one in (status, *status.positions.values()):
            if one.cause == UNKNOWN and one.raw not in known:
                _log.warning("job %s: a state that reflow does not know: %s", job, one.raw)
                break
