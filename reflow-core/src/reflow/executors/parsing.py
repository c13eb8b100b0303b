"""What schedulers print of jobs, where several print alike; pure, but for a site's files."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime

from attrs import evolve, frozen

from ..states import MEMORY_SUSPECTED, UNKNOWN
from .base import LIVE, JobStatus

_log = logging.getLogger(__name__)


# Jobs and their positions


def only_id(command: str, text: str, ids: Iterable[str]) -> str:
    """Return the one id in what a command printed; `ValueError` where there is none, or several.

    A site's greeting may stand before it, or after.
    """
    printed = list(ids)
    if len(printed) != 1:
        raise ValueError(f"{command} printed no job id: {text.strip()[:200]!r}")
    return printed[0]


@frozen(kw_only=True)
class Report:
    """What one line of an answer says of a job, or of some positions of it (None: of the whole).

    `user` and `name` are as the scheduler prints them, "" where it does not; `submitted` is in
    seconds since the epoch, by the scheduler's clock.
    """

    job: str
    status: JobStatus
    positions: tuple[int, ...] | None = None
    user: str = ""
    name: str = ""
    submitted: float = 0.0


def merge(reports: Iterable[Report]) -> dict[str, JobStatus]:
    """Return one status for each job; where several reports say something, the last counts.

    An array is what its positions are.
    """
    whole: dict[str, JobStatus] = {}
    arrays: dict[str, list[Report]] = {}
    for report in reports:
        if report.positions is None:
            whole[report.job] = report.status
        else:
            arrays.setdefault(report.job, []).append(report)
    for job, parts in arrays.items():
        positions = {at: part.status for part in parts for at in part.positions or ()}
        # An expression that was cut short names no position for sure.
        unnumbered = [part.status for part in parts if not part.positions]
        whole[job] = array_status(positions, unnumbered)
    return whole


def array_status(
    positions: Mapping[int, JobStatus], unnumbered: Iterable[JobStatus] = ()
) -> JobStatus:
    """Return the status of an array by that of its positions, and of those without a number.

    It lives while any position lives, and has the cause of one that did not end well. There must
    be one status at least.
    """
    every = [*positions.values(), *unnumbered]
    living = [status for status in every if status.state == LIVE]
    first = [*living, *(status for status in every if status.cause), *every][0]
    running = any(status.running for status in living)
    return evolve(first, running=running, positions=positions)


def ids_by_name(reports: Iterable[Report], names: Collection[str]) -> dict[str, str]:
    """Return the job id of each of these names; the last one counts."""
    return {report.name: report.job for report in reports if report.name in names}


def warn_of_unknown(jobs: Mapping[str, JobStatus], expected: Collection[str] = ()) -> None:
    """Warn of jobs in a state that reflow does not know; raw states in `expected` it does."""
    for job, status in jobs.items():
        for each in (status, *status.positions.values()):
            if each.cause == UNKNOWN and each.raw not in expected:
                _log.warning("job %s: a state that reflow does not know: %s", job, each.raw)
                break


# How processes end


def signal_of(code: int | None, bases: Collection[int] = (128,)) -> int | None:
    """Return the signal that an exit code stands for; None where it stands for none.

    A shell adds 128 (POSIX, "Exit Status for Commands"); signals are 1 to 64 on Linux.

    >>> signal_of(137), signal_of(255), signal_of(3)
    (9, None, None)
    """
    return next((code - base for base in bases if code and base < code <= base + 64), None)


def ended_badly(code: int | None, signal: int | None) -> str:
    """Say how a process has ended where nothing else is known of it.

    >>> ended_badly(3, None), ended_badly(None, 9)
    ('exit code 3', 'killed by signal 9: memory suspected')
    """
    suspected = f": {MEMORY_SUSPECTED}" if signal == 9 else ""
    return f"killed by signal {signal}{suspected}" if signal else f"exit code {code}"


# Times


def iso_time(text: str) -> float | None:
    """Return a local time in ISO form as seconds since the epoch; None for any other text."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        return None


_C_TIME = re.compile(r"[A-Z][a-z]+ ([A-Z][a-z]{2}) +(\d{1,2}) (\d\d:\d\d:\d\d) (\d{4})")
_MONTHS = "JanFebMarAprMayJunJulAugSepOctNovDec"


def c_time(text: str) -> float | None:
    """Return a local time as C's ctime writes it, in any locale; None for any other text.

    >>> c_time("Mon Nov 23 04:53:24 2026") == iso_time("2026-11-23T04:53:24")
    True
    """
    parts = _C_TIME.fullmatch(text)
    if parts is None:
        return None
    month = 1 + _MONTHS.find(parts[1]) // 3
    return iso_time(f"{parts[4]}-{month:02}-{int(parts[2]):02}T{parts[3]}")


# Numbers


def size_in(pattern: str, text: str) -> int | None:
    """Return the size (1 at the least) that the group of `pattern` is in a text of many lines."""
    match = re.search(pattern, text, re.MULTILINE)
    return max(1, int(match[1])) if match else None


_SPAN = re.compile(r"([0-9]+)(?:-([0-9]+)(?::([1-9][0-9]*))?)?")


def read_ranges(text: str, largest: int) -> Iterator[int]:
    """Yield the numbers of an expression without its throttle; what is not a range is left out.

    So is a range that goes beyond `largest`: it cannot be an array, and would fill the memory.

    >>> list(read_ranges("0-2,5,8-12:2%3", 1000))
    [0, 1, 2, 5, 8, 10, 12]
    >>> list(read_ranges("1,3-5,12...", 1000))
    [1, 3, 4, 5]
    """
    for part in text.partition("%")[0].split(","):
        span = _SPAN.fullmatch(part.strip())
        if span is not None:
            first, last = int(span[1]), int(span[2] or span[1])
            if last <= largest:
                yield from range(first, last + 1, int(span[3] or 1))


# What a site has set


def site_file(path: str) -> str:
    """Return the text of a file that a site sets a scheduler up by; "" where it cannot be read."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read(1_000_000)
    except (OSError, UnicodeDecodeError):
        return ""
