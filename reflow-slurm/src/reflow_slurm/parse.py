"""What Slurm's commands print, read into neutral words; pure.

Manual pages: squeue(1) and sacct(1), "JOB STATE CODES" and "JOB REASON CODES", Slurm 22.05.
Nothing here raises for what it cannot read: lines that are no answer are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime

from attrs import evolve, frozen

from reflow.executors.base import ENDED, LIVE, JobStatus
from reflow.states import (
    CANCELLED,
    ERROR,
    HELD,
    LOST,
    NODE_FAIL,
    OOM,
    PREEMPTED,
    SUSPECTED,
    TIMEOUT,
    UNKNOWN,
)

LIVE_STATES = {
    # state: whether it runs
    "PENDING": False, "CONFIGURING": False, "REQUEUED": False, "REQUEUE_FED": False,
    "REQUEUE_HOLD": False, "RESV_DEL_HOLD": False, "SPECIAL_EXIT": False, "POWER_UP_NODE": False,
    "RUNNING": True, "COMPLETING": True, "SUSPENDED": True, "STOPPED": True, "RESIZING": True,
    "SIGNALING": True, "STAGE_OUT": True,
}  # fmt: skip
ENDED_STATES = {
    "COMPLETED": "",
    "FAILED": ERROR,
    "CANCELLED": CANCELLED,
    "REVOKED": CANCELLED,
    "TIMEOUT": TIMEOUT,
    "DEADLINE": TIMEOUT,
    "NODE_FAIL": NODE_FAIL,
    "BOOT_FAIL": NODE_FAIL,
    "OUT_OF_MEMORY": OOM,
    "PREEMPTED": PREEMPTED,
}
"""The cause of each state in which a job has ended; "" where it ended well."""

COMPACT = {
    "BF": "BOOT_FAIL", "CA": "CANCELLED", "CD": "COMPLETED", "CF": "CONFIGURING",
    "CG": "COMPLETING", "DL": "DEADLINE", "F": "FAILED", "NF": "NODE_FAIL",
    "OOM": "OUT_OF_MEMORY", "PD": "PENDING", "PR": "PREEMPTED", "R": "RUNNING",
    "RD": "RESV_DEL_HOLD", "RF": "REQUEUE_FED", "RH": "REQUEUE_HOLD", "RQ": "REQUEUED",
    "RS": "RESIZING", "RV": "REVOKED", "S": "SUSPENDED", "SE": "SPECIAL_EXIT",
    "SI": "SIGNALING", "SO": "STAGE_OUT", "ST": "STOPPED", "TO": "TIMEOUT",
}  # fmt: skip

HOLDS = {
    "REQUEUE_HOLD": "it was requeued and is held: scontrol release",
    "RESV_DEL_HOLD": "its reservation was deleted and it is held: scontrol release",
    "SPECIAL_EXIT": "it was requeued for its exit code and is held: scontrol release",
}
NEVER = {
    "DependencyNeverSatisfied": "the job it waits for can never end as it was asked to",
    "PartitionTimeLimit": "it asks for more time than its partition allows",
    "PartitionNodeLimit": "it asks for more nodes than its partition allows",
    "PartitionConfig": "it asks for more than its partition can give",
    "PartitionInactive": "its partition is inactive",
    "PartitionDown": "its partition is down",
    "BadConstraints": "no node meets its constraints",
    "InvalidAccount": "its account is not valid",
    "InvalidQOS": "its QOS is not valid",
    "JobHeldUser": "it is held by its user: scontrol release",
    "JobHeldAdmin": "it is held by an administrator",
    "JobArrayTaskHeld": "it is held: scontrol release",
    "AccountNotAllowed": "its account may not use the partition",
    "QOSNotAllowed": "its QOS may not be used in the partition",
    "ReservationDeleted": "its reservation was deleted",
    "JobLaunchFailure": "it could not be launched",
    "launch_failed_requeued_held": "its launch failed and it is held: scontrol release",
    "job_requeued_in_held_state": "it was requeued and is held: scontrol release",
}
"""Reasons with which a pending job will not start before a person does something."""

# AssocMaxWallDurationPerJobLimit, QOSMaxMemoryPerJob, QOSMinGRES, MaxCpuPerAccount … of one job:
# it asks for more, or for less, than it may ever have. Other limits pass as other jobs end.
_PER_JOB = re.compile(r"(?:Assoc|QOS)(?:Max\w+PerJob|Max\w+PerNode|Min\w+)(?:Limit)?")

LIMIT = re.compile(
    r"MaxSubmitJob|GrpSubmitJob|MaxJobCount|temporarily unable to accept job|"
    r"Resource temporarily unavailable|I/O error writing script"
)
"""What sbatch says where the job could be taken later."""

FORBIDDEN = re.compile(r"Access/permission denied")
"""What sbatch says on a host that the partition's AllocNodes leaves out (slurm.conf(5))."""

UNREACHABLE = re.compile(
    r"Unable to contact slurm controller|Socket timed out|Connection refused|"
    r"Connection timed out|Connection reset|Zero Bytes were transmitted|"
    r"Transport endpoint is not connected|Communication connection failure|"
    r"Unable to establish (?:controller|connection|configuration)|Unable to resolve|"
    r"Message (?:send|receive) failure|slurm_persist_conn_open|Problem talking to the database|"
    r"standby mode|backup controller|Slurm controller is not responding|Insane message length|"
    r"Protocol authentication error|Munge (?:en|de)code failed|Could not establish a config"
)

# 5_[0-9,12%3], 5_[0,2,...], 5_3, 12+0 (the leader of a heterogeneous job), 5; not 5.batch
_JOB = re.compile(r"([0-9]+)(?:_(?:([0-9]+)|\[([^\]]*)(\]?))|\+0)?")
_SPAN = re.compile(r"([0-9]+)(?:-([0-9]+)(?::([1-9][0-9]*))?)?")
_CODE = re.compile(r"([0-9]+):([0-9]+)")
_WORD = re.compile(r"([A-Z_]+)(\+?)")
_ID = re.compile(r"([0-9]+)(?:;\S+)?")

MOST_POSITIONS = 4_000_001
"""What Slurm's MaxArraySize may be at the most."""


@frozen(kw_only=True)
class Seen:
    """What one line says of a job or of some positions of it (None: of the whole).

    `submitted` is the time of submission as printed; it sorts.
    """

    job: str
    positions: tuple[int, ...] | None
    status: JobStatus
    submitted: str = ""


def job_id(text: str) -> str:
    """Return the id that `sbatch --parsable` printed, ``32`` or ``32;cluster``.

    Raises `ValueError` for anything else.
    """
    # A site's greeting may stand before it, or after.
    found = [match[1] for line in text.splitlines() if (match := _ID.fullmatch(line.strip()))]
    if len(found) != 1:
        raise ValueError(f"sbatch printed no job id: {text.strip()[:200]!r}")
    return found[0]


def array_size(text: str) -> int | None:
    """Return the elements that an array may have, from ``scontrol show config``."""
    found = re.search(r"^MaxArraySize\s*=\s*([0-9]+)\s*$", text, re.MULTILINE)
    return max(1, int(found[1])) if found else None


def indices(text: str) -> Iterator[int]:
    """Yield the positions of an array expression without its throttle.

    Of one that squeue has cut short, those that are surely there.

    >>> list(indices("0-2,5,8-12:2%3"))
    [0, 1, 2, 5, 8, 10, 12]
    >>> list(indices("1,3-5,12..."))
    [1, 3, 4, 5]
    """
    for part in text.partition("%")[0].split(","):
        span = _SPAN.fullmatch(part.strip())
        if span is not None:
            first, last = int(span[1]), int(span[2] or span[1])
            if last < MOST_POSITIONS:
                yield from range(first, last + 1, int(span[3] or 1))


def squeue(text: str, user: int | None = None) -> Iterator[Seen]:
    """Read ``squeue --noheader -o SQUEUE_FORMAT``; jobs of others than `user` are passed over."""
    for line in text.splitlines():
        parts = [part.strip() for part in line.split("|")]
        if len(parts) == 7 and _mine(parts[6], user):
            job, state, reason, nodes, started, submitted, _ = parts
            told = status(state, reason=reason, nodes=nodes, started=started, raw=line)
            yield from _seen(job, told, submitted)


SQUEUE_FORMAT = "%i|%T|%r|%N|%S|%V|%U"


def sacct(text: str, user: int | None = None) -> Iterator[Seen]:
    """Read ``sacct --noheader --parsable2 --allocations --format SACCT_FIELDS``."""
    for line in text.splitlines():
        parts = [part.strip() for part in line.split("|")]
        if len(parts) == 9 and _mine(parts[8], user):
            job, state, code, reason, nodes, started, ended, submitted, _ = parts
            told = status(
                state, code=code, reason=reason, nodes=nodes, started=started, ended=ended,
                raw=line,
            )  # fmt: skip
            yield from _seen(job, told, submitted)


SACCT_FIELDS = "JobID,State,ExitCode,Reason,NodeList,Start,End,Submit,UID"


def scontrol(text: str) -> Iterator[Seen]:
    """Read ``scontrol --oneliner show job``: of what is known where accounting is off."""
    for line in text.splitlines():
        found = dict(word.split("=", 1) for word in line.split() if "=" in word)
        if "JobId" in found and "JobState" in found:
            job = found.get("ArrayJobId", found["JobId"])
            if "ArrayTaskId" in found:
                job += f"_[{found['ArrayTaskId']}]"
            told = status(
                found["JobState"], code=found.get("ExitCode", ""),
                reason=found.get("Reason", ""), nodes=found.get("NodeList", ""),
                started=found.get("StartTime", ""), ended=found.get("EndTime", ""), raw=line,
            )  # fmt: skip
            yield from _seen(job, told, found.get("SubmitTime", ""))


def _mine(given: str, user: int | None) -> bool:
    # Ids begin again some day: a number alone may be another's job by now.
    return user is None or given == str(user)


def _seen(job: str, told: JobStatus, submitted: str) -> Iterator[Seen]:
    match = _JOB.fullmatch(job)
    if match is None:
        return
    number, single, several, closed = match.groups()
    positions: tuple[int, ...] | None = None
    if single is not None:
        positions = (int(single),)
    elif several is not None:
        positions = tuple(indices(several if closed else several.rpartition(",")[0]))
    yield Seen(job=number, positions=positions, status=told, submitted=submitted)


def status(
    state: str,
    *,
    code: str = "",
    reason: str = "",
    nodes: str = "",
    started: str = "",
    ended: str = "",
    raw: str = "",
) -> JobStatus:
    """Return what a state means. One that is not known is UNKNOWN, and never a success."""
    word = _state(state)
    why = reason.strip().replace(" ", "_")
    numbers = _CODE.fullmatch(code.strip())
    exit_code, signal = (int(numbers[1]), int(numbers[2])) if numbers else (None, None)
    cause, running, began = UNKNOWN, False, _time(started)
    told = f"Slurm says {state.strip()!r}"
    if word in LIVE_STATES:
        running = LIVE_STATES[word]
        never = "" if running else _never(word, why)
        cause, told = (HELD, f"{why}: {never}") if never else ("", "")
        began = began if running else None  # of one that waits, squeue prints when it may start
    elif word in ENDED_STATES:
        cause, told = ENDED_STATES[word], _ended(state, word, exit_code, signal, why)
        if _dropped(state, why):
            cause = LOST  # nobody cancelled it, and it has not run
    return JobStatus(
        state=ENDED if word in ENDED_STATES else LIVE,
        running=running,
        cause=cause,
        exit_code=exit_code,
        signal=signal,
        nodes=() if nodes in ("", "None assigned", "(null)") else (nodes,),
        started=began,
        ended=_time(ended),
        reason=told,
        raw=raw,
    )


def _state(text: str) -> str:
    """Return the state's name: of "CANCELLED by 1001", "OUT_OF_ME+" and "CD" too."""
    match = _WORD.match(text.strip())
    if match is None:
        return ""
    word, cut = match.groups()
    if cut:
        fits = [one for one in (*LIVE_STATES, *ENDED_STATES) if one.startswith(word)]
        return fits[0] if len(fits) == 1 else ""
    return COMPACT.get(word, word)


def _never(word: str, why: str) -> str:
    if _PER_JOB.fullmatch(why):
        return "it asks for more than its account, QOS or partition allows one job"
    return NEVER.get(why) or HOLDS.get(word, "")


def _dropped(state: str, why: str) -> bool:
    """Whether Slurm took a job out of the queue for what it waited for, and no person did."""
    return state.strip() == "CANCELLED" and why.startswith("Dependency")


def _ended(state: str, word: str, exit_code: int | None, signal: int | None, why: str) -> str:
    if word == "FAILED" and (exit_code, signal) == (0, 53):
        return "Slurm could not start it: the folder of its log or its working directory is missing"
    if word == "FAILED" and signal == 9:
        return f"killed (signal 9): {SUSPECTED}"
    if word == "FAILED" and signal:
        return f"killed by signal {signal}"
    if word == "FAILED" and exit_code:
        # Slurm turns a shell's 137 into 9.
        return f"exit code {exit_code}" + (", or killed by signal 9" if exit_code == 9 else "")
    if _dropped(state, why):
        return "Slurm took it out of the queue: the job it waited for did not end well"
    if word == "COMPLETED":
        return ""
    return f"Slurm says {state.strip() if state.strip().startswith(word) else word}"


def _time(text: str) -> float | None:
    if not text[:1].isdecimal():  # "Unknown", "None", "N/A", ""
        return None
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def merge(queue: Iterable[Seen], accounting: Iterable[Seen] = ()) -> dict[str, JobStatus]:
    """Return one status for each job: of an array, what is said of its positions.

    An array lives while any position of it lives. The queue knows what lives, accounting
    better what has ended; of several incarnations (requeued) the one submitted last counts.
    """
    asked = list(queue)
    ended = sorted(
        (one for one in accounting if one.status.state == ENDED), key=lambda one: one.submitted
    )
    alive = [one for one in asked if one.status.state == LIVE]
    whole: dict[str, JobStatus] = {}
    lines: dict[str, list[Seen]] = {}
    for one in [*(one for one in asked if one.status.state == ENDED), *ended, *alive]:
        if one.positions is None:
            whole[one.job] = one.status
        else:
            lines.setdefault(one.job, []).append(one)
    for job, of_job in lines.items():
        places = {place: one.status for one in of_job for place in one.positions or ()}
        living = [one.status for one in of_job if one.status.state == LIVE]
        last = list(places.values()) or [of_job[-1].status]
        first = next(iter(living or [one for one in last if one.cause] or last))
        running = any(one.running for one in living)
        whole[job] = evolve(first, running=running, positions=places)
    return whole


def named(text: str, names: Collection[str]) -> dict[str, str]:
    """Return the job id of each of these names in lines ``id|name``; the last one counts."""
    found = {}
    for line in text.splitlines():
        job, _, name = line.partition("|")
        match = _JOB.fullmatch(job.strip())
        if match is not None and name.strip() in names:
            found[name.strip()] = match[1]
    return found
