"""What Flux's commands print, read into neutral words; pure. flux-jobs(1), Flux 0.88.

Nothing here raises for what it cannot read: lines that are no answer are passed over.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable
from typing import NamedTuple

from reflow.executors.base import ENDED, LIVE, JobStatus
from reflow.executors.parsing import array_status, ended_badly
from reflow.states import CANCELLED, ERROR, HELD, LOST, NODE_FAIL, PREEMPTED, TIMEOUT, UNKNOWN

# The note, which may hold anything, stands last.
FORMAT = (
    "{id.f58plain}|{name}|{t_submit}|{state}|{result}|{urgency}|{returncode}|{t_run}|{t_inactive}|"
    "{nodelist}|{exception.severity}|{exception.type}|{exception.note}"
)
WAITING, RUNNING = ("NEW", "DEPEND", "PRIORITY", "SCHED"), ("RUN", "CLEANUP")
RESULTS = {"COMPLETED": "", "FAILED": ERROR, "CANCELED": CANCELLED, "TIMEOUT": TIMEOUT}
"""The cause of each result of a job; "" where it ended well."""

EXCEPTIONS = {"dependency": LOST, "alloc": HELD, "preempt": PREEMPTED, "node-failure": NODE_FAIL}
"""The causes of fatal exceptions with which a job has FAILED; of the others it is an error."""

_ID = re.compile(r"[fƒ]([1-9A-HJ-NP-Za-km-z]{1,11})")
_NAME = re.compile(r"(.*?)(?:\[([0-9]{1,7})\])?")
_ARRAY = re.compile(r"(.+)\[\]@([0-9]+)")
_UNKNOWN = re.compile(r"id [fƒ](\S+): job not found")

UNREACHABLE = re.compile(
    r"Unable to connect to Flux|broker socket|flux_open|[Cc]onnection (?:refused|reset|timed out)|"
    r"[Tt]ransport endpoint|No route to host|Host is unreachable|Broken pipe|lost connection|"
    r"No service matching|Function not implemented"
)
# A disabled queue, and the limits of flux-accounting.
LIMIT = re.compile(r"job submission.* is disabled|\bmax\w*[ _-].*(?:jobs|limit)", re.IGNORECASE)
# Of a broker that is another user's, or takes no jobs of guests.
FORBIDDEN = re.compile(r"Permission denied|Operation not permitted|instance owner")
GONE = re.compile(r"job is inactive|unknown job id|JobID \S+ unknown|only (?:cancel|raise)")
"""What is said of jobs that have ended, that Flux has forgotten, or that are another's."""


class Seen(NamedTuple):
    """What Flux says of one job: of an array the name without the position, which is None else.

    `submitted` is when, by Flux's clock.
    """

    job: str
    name: str
    position: int | None
    submitted: float
    status: JobStatus


def job_ids(text: str) -> list[str]:
    """Return the ids that were printed, one a line; a site's greeting may stand around them."""
    return [f"f{one[1]}" for line in text.splitlines() if (one := _ID.fullmatch(line.strip()))]


def unknown(text: str) -> set[str]:
    """Return the ids that a dependency was refused for, since Flux has forgotten them."""
    return {f"f{one}" for one in _UNKNOWN.findall(text)}


def array_id(name: str, submitted: float) -> str:
    """Return the id of an array: the name of its jobs, and a second not after their submission.

    >>> array_id("run.1.w", 1795409405.85), array_name("run.1.w[]@1795409405")
    ('run.1.w[]@1795409405', ('run.1.w', 1795409405))
    """
    return f"{name}[]@{math.floor(submitted)}"


def array_name(job: str) -> tuple[str, int] | None:
    """Return the name and the second in the id of an array; None for the id of a single job."""
    found = _ARRAY.fullmatch(job)
    return (found[1], int(found[2])) if found else None


def jobs(text: str) -> list[Seen]:
    """Read ``flux jobs --no-header --format=FORMAT``."""
    found = []
    for row in (line.split("|", 12) for line in text.splitlines()):
        if len(row) == 13 and (number := _ID.fullmatch(row[0])):
            name, place = _NAME.fullmatch(row[1]).groups()  # type: ignore[union-attr]
            position, when = int(place) if place else None, _time(row[2]) or 0.0
            found.append(Seen(f"f{number[1]}", name, position, when, status(*row[3:])))
    return found


def status(
    state: str, result: str, urgency: str = "", code: str = "", started: str = "",
    ended: str = "", nodes: str = "", severity: str = "", kind: str = "", note: str = "",
) -> JobStatus:  # fmt: skip
    """Return what a state means. One that is not known is UNKNOWN, and never a success."""
    number = int(code) if re.fullmatch("[0-9]{1,3}", code) else 0  # -128: it never ran
    cause, told, over = UNKNOWN, f"Flux says {state!r} {result!r}", state == "INACTIVE"
    if state in WAITING and urgency == "0":  # flux-job(1), "urgency"
        cause, told = HELD, "it is held: flux job urgency ID default"
    elif state in WAITING or state in RUNNING:
        cause, told = "", ""
    elif over and result in RESULTS:
        cause, told = RESULTS[result], f"Flux says {result}: {note}".rstrip(": ")
        # Exceptions of another severity are warnings, also of jobs that end well.
        if cause == ERROR and severity == "0":
            kind = "node-failure" if kind == "exec" and "lost contact" in note else kind
            cause, told = EXCEPTIONS.get(kind, ERROR), f"{kind}: {note}"
        elif cause == ERROR:
            told = ended_badly(number, number - 128 if number > 128 else None)
    ran = over and code != "" and not code.startswith("-") and cause not in (LOST, HELD, UNKNOWN)
    return JobStatus(
        state=ENDED if over else LIVE, running=state in RUNNING, cause=cause,
        exit_code=number if ran and number <= 128 else None,
        signal=number - 128 if ran and number > 128 else None,
        nodes=(nodes,) if nodes else (), started=_time(started), ended=_time(ended),
        reason=told if cause else "", raw=f"{state} {result}".strip(),
    )  # fmt: skip


def _time(text: str) -> float | None:
    found = re.fullmatch(r"[0-9]{1,12}(?:\.[0-9]*)?", text)
    return float(text) or None if found else None


def merge(seen: Iterable[Seen], asked: Collection[str]) -> dict[str, JobStatus]:
    """Return the status of each job that was asked for; of arrays, what is seen of positions.

    An array lives while any position of it lives.
    """
    arrays = {found[0]: job for job in asked if (found := array_name(job))}
    whole: dict[str, JobStatus] = {}
    places: dict[str, dict[int, JobStatus]] = {}
    for one in seen:
        if one.position is not None and one.name in arrays:
            places.setdefault(arrays[one.name], {})[one.position] = one.status
        elif one.job in asked:
            whole[one.job] = one.status
    return {**whole, **{job: array_status(parts) for job, parts in places.items()}}
