"""What Flux's commands print, read into neutral words; pure. flux-jobs(1), Flux 0.88.

What is called seen, tests/schedulers/test_flux_facts.py holds against a real one. Nothing here
raises for what it cannot read: lines that are no answer are left out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable

from attrs import evolve

from reflow.executors import parsing
from reflow.executors.base import ENDED, LIVE, JobStatus
from reflow.executors.parsing import Report, ended_badly, signal_of
from reflow.states import CANCELLED, ERROR, HELD, LOST, NODE_FAIL, PREEMPTED, TIMEOUT, UNKNOWN

# The note, which may hold anything, stands last.
FORMAT = (
    "{id.f58plain}|{name}|{t_submit}|{state}|{result}|{urgency}|{returncode}|{t_run}|{t_inactive}|"
    "{nodelist}|{exception.severity}|{exception.type}|{exception.note}"
)
# flux-jobs(1), "JOB STATUS"
WAITING, RUNNING = ("NEW", "DEPEND", "PRIORITY", "SCHED"), ("RUN", "CLEANUP")
RESULTS = {"COMPLETED": "", "FAILED": ERROR, "CANCELED": CANCELLED, "TIMEOUT": TIMEOUT}
"""The cause of each result of a job; "" where it ended well (same page)."""
EXCEPTIONS = {"dependency": LOST, "alloc": HELD, "preempt": PREEMPTED, "node-failure": NODE_FAIL}
"""The causes of fatal exceptions with which a job has FAILED; others are errors (RFC 21; seen)."""
LOST_CONTACT = "lost contact"
"""What the note of an exec exception says of a node that is gone (seen)."""

_ID = re.compile(r"[fƒ]([1-9A-HJ-NP-Za-km-z]{1,11})")
_NAME = re.compile(r"(.*?)(?:\[([0-9]{1,7})\])?")
_ARRAY = re.compile(r"(.+)\[\]@([0-9]+)")
_UNKNOWN = re.compile(r"id [fƒ](\S+): job not found")
UNREACHABLE = re.compile(
    r"Unable to connect to Flux|broker socket|flux_open|[Cc]onnection (?:refused|reset|timed out)|"
    r"[Tt]ransport endpoint|No route to host|Host is unreachable|Broken pipe|lost connection|"
    r"No service matching|Function not implemented"
)
"""What commands say where no instance, or no service of it, answers (seen)."""
LIMIT = re.compile(r"job submission.* is disabled|\bmax\w*[ _-].*(?:jobs|limit)", re.IGNORECASE)
"""What is said of a disabled queue (seen), and by the limits of flux-accounting."""
FORBIDDEN = re.compile(r"Permission denied|Operation not permitted|instance owner")
"""What a broker says that is another user's, or takes no jobs of guests (flux-config-access(5))."""
GONE = re.compile(r"job is inactive|unknown job id|JobID \S+ unknown|only (?:cancel|raise)")
"""What is said of jobs that have ended, that Flux has forgotten, or that are another's (seen)."""


def job_ids(text: str) -> list[str]:
    """Return the ids that were printed, one a line; a site's greeting may stand around them."""
    matches = (_ID.fullmatch(line.strip()) for line in text.splitlines())
    return [f"f{match[1]}" for match in matches if match]


def unknown(text: str) -> set[str]:
    """Return the ids that a dependency was refused for, since Flux has forgotten them."""
    return {f"f{number}" for number in _UNKNOWN.findall(text)}


def array_id(name: str, submitted: float) -> str:
    """Return the id of an array: the name of its jobs, and a second not after their submission.

    >>> array_id("run.1.w", 1795409405.85), array_name("run.1.w[]@1795409405")
    ('run.1.w[]@1795409405', ('run.1.w', 1795409405))
    """
    return f"{name}[]@{math.floor(submitted)}"


def array_name(job: str) -> tuple[str, int] | None:
    """Return the name and the second in the id of an array; None for the id of a single job."""
    match = _ARRAY.fullmatch(job)
    return (match[1], int(match[2])) if match else None


def jobs(text: str) -> list[Report]:
    """Read ``flux jobs --no-header --format=FORMAT``; of an array each job has its position."""
    reports = []
    for row in (line.split("|", 12) for line in text.splitlines()):
        if len(row) == 13 and (number := _ID.fullmatch(row[0])):
            name, position = _NAME.fullmatch(row[1]).groups()  # type: ignore[union-attr]
            reports.append(Report(
                job=f"f{number[1]}", name=name, positions=(int(position),) if position else None,
                submitted=_time(row[2]) or 0.0, status=status(*row[3:]),
            ))  # fmt: skip
    return reports


def status(
    state: str, result: str, urgency: str = "", code: str = "", started: str = "",
    ended: str = "", nodes: str = "", severity: str = "", kind: str = "", note: str = "",
) -> JobStatus:  # fmt: skip
    """Return what a state means. One that is not known is UNKNOWN, and never a success."""
    number = int(code) if re.fullmatch("[0-9]{1,3}", code) else None  # -128: it never ran
    cause, reason = _cause(state, result, urgency, number or 0, severity, kind, note)
    over = state == "INACTIVE"
    ran = over and cause not in (LOST, HELD, UNKNOWN)
    signal = signal_of(number) if ran else None
    return JobStatus(
        state=ENDED if over else LIVE, running=state in RUNNING, cause=cause, signal=signal,
        exit_code=number if ran and signal is None else None,
        nodes=(nodes,) if nodes else (), started=_time(started), ended=_time(ended),
        reason=reason, raw=f"{state} {result}".strip(),
    )  # fmt: skip


def _cause(
    state: str, result: str, urgency: str, code: int, severity: str, kind: str, note: str
) -> tuple[str, str]:
    """Return cause and reason of what waits for a person, or has not ended well."""
    if state in WAITING and urgency == "0":  # flux-job(1), "urgency"
        return HELD, "it is held: flux job urgency ID default"
    if state in WAITING or state in RUNNING or (state, result) == ("INACTIVE", "COMPLETED"):
        return "", ""
    if state != "INACTIVE" or result not in RESULTS:
        return UNKNOWN, f"Flux says {state!r} {result!r}"
    if RESULTS[result] != ERROR:
        return RESULTS[result], f"Flux says {result}: {note}".rstrip(": ")
    # Exceptions of another severity are warnings, also of jobs that end well (seen).
    if severity != "0":
        return ERROR, ended_badly(code, signal_of(code))
    kind = "node-failure" if kind == "exec" and LOST_CONTACT in note else kind
    return EXCEPTIONS.get(kind, ERROR), f"{kind}: {note}"


def _time(text: str) -> float | None:
    seconds = re.fullmatch(r"[0-9]{1,12}(?:\.[0-9]*)?", text)
    return float(text) or None if seconds else None


def merge(reports: Iterable[Report], jobs: Collection[str]) -> dict[str, JobStatus]:
    """Return the status of each of these jobs; of arrays, what is said of positions."""
    arrays = {array[0]: job for job in jobs if (array := array_name(job))}
    rows = []
    for report in reports:
        if report.positions is not None and report.name in arrays:
            rows.append(evolve(report, job=arrays[report.name]))
        elif report.job in jobs:
            rows.append(evolve(report, positions=None))
    return parsing.merge(rows)
