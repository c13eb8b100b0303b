"""What Slurm's commands print, read into neutral words; pure.

Manual pages: squeue(1) and sacct(1), "JOB STATE CODES" and "JOB REASON CODES", Slurm 22.05.
Nothing here raises for what it cannot read: lines that are no answer are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator

from attrs import frozen

from reflow.executors.base import ENDED, LIVE, JobStatus
from reflow.executors.options import read_ranges
from reflow.executors.parsing import array_status, ended_badly, iso_time, only_id, size_in
from reflow.states import CANCELLED, ERROR, HELD, LOST, NODE_FAIL, OOM, PREEMPTED, TIMEOUT, UNKNOWN

LIVE_STATES = {
    # state: whether it runs
    "PENDING": False, "CONFIGURING": False, "REQUEUED": False, "REQUEUE_FED": False,
    "REQUEUE_HOLD": False, "RESV_DEL_HOLD": False, "SPECIAL_EXIT": False, "POWER_UP_NODE": False,
    "RUNNING": True, "COMPLETING": True, "SUSPENDED": True, "STOPPED": True, "RESIZING": True,
    "SIGNALING": True, "STAGE_OUT": True,
    # In a federation another cluster has the job now, and runs it.
    "REVOKED": False,
}  # fmt: skip
ENDED_STATES = {
    "COMPLETED": "", "FAILED": ERROR, "CANCELLED": CANCELLED,
    "TIMEOUT": TIMEOUT, "DEADLINE": TIMEOUT, "NODE_FAIL": NODE_FAIL, "BOOT_FAIL": NODE_FAIL,
    "OUT_OF_MEMORY": OOM, "PREEMPTED": PREEMPTED,
}  # fmt: skip
"""The cause of each state in which a job has ended; "" where it ended well."""

COMPACT = {
    "BF": "BOOT_FAIL", "CA": "CANCELLED", "CD": "COMPLETED", "CF": "CONFIGURING",
    "CG": "COMPLETING", "DL": "DEADLINE", "F": "FAILED", "NF": "NODE_FAIL",
    "OOM": "OUT_OF_MEMORY", "PD": "PENDING", "PR": "PREEMPTED", "R": "RUNNING",
    "RD": "RESV_DEL_HOLD", "RF": "REQUEUE_FED", "RH": "REQUEUE_HOLD", "RQ": "REQUEUED",
    "RS": "RESIZING", "RV": "REVOKED", "S": "SUSPENDED", "SE": "SPECIAL_EXIT",
    "SI": "SIGNALING", "SO": "STAGE_OUT", "ST": "STOPPED", "TO": "TIMEOUT",
}  # fmt: skip

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
    # States, of which the reason says less.
    "REQUEUE_HOLD": "it was requeued and is held: scontrol release",
    "RESV_DEL_HOLD": "its reservation was deleted and it is held: scontrol release",
    "SPECIAL_EXIT": "it was requeued for its exit code and is held: scontrol release",
}
"""Reasons, and states, with which a pending job will not start before a person does something."""

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
_CODE = re.compile(r"([0-9]+):([0-9]+)")
_WORD = re.compile(r"([A-Z_]+)(\+?)")
_NAMED = re.compile(r"^\s*([0-9]+)(?:_[^|\s]+|\+0)?\s*\|[ \t]*(.*?)\s*$", re.MULTILINE)
_ID = re.compile(r"^\s*([0-9]+)(?:;\S+)?\s*$", re.MULTILINE)

LAST_POSITION = 4_000_000
"""Slurm's MaxArraySize is 4000001 at the most."""


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
    return only_id("sbatch", text, _ID.findall(text))


def array_size(text: str) -> int | None:
    """Return the elements that an array may have, from ``scontrol show config``."""
    size = size_in(r"^MaxArraySize\s*=\s*([0-9]+)\s*$", text)
    # A site may allow larger indices than it takes elements: slurm.conf(5), SchedulerParameters.
    fewer = size_in(r"^SchedulerParameters\s*=.*\bmax_array_tasks=([0-9]+)", text)
    return min(size, fewer) if size is not None and fewer is not None else size


SQUEUE_FORMAT = "%i|%T|%r|%N|%S|%V|%U"
_SQUEUE = ("job", "state", "reason", "nodes", "started", "submitted", "user")
SACCT_FIELDS = "JobID,State,ExitCode,Reason,NodeList,Start,End,Submit,UID"
_SACCT = ("job", "state", "code", "reason", "nodes", "started", "ended", "submitted", "user")
_SCONTROL = {
    "JobState": "state", "ExitCode": "code", "Reason": "reason", "NodeList": "nodes",
    "StartTime": "started", "EndTime": "ended", "SubmitTime": "submitted",
}  # fmt: skip
"""The columns of each answer, by the names of what `_seen` takes."""


def squeue(text: str, user: int | None = None) -> Iterator[Seen]:
    """Read ``squeue --noheader -o SQUEUE_FORMAT``; jobs of others than `user` are passed over."""
    return _rows(text, _SQUEUE, user)


def sacct(text: str, user: int | None = None) -> Iterator[Seen]:
    """Read ``sacct --noheader --parsable2 --allocations --format SACCT_FIELDS``."""
    return _rows(text, _SACCT, user)


def _rows(text: str, columns: tuple[str, ...], user: int | None) -> Iterator[Seen]:
    for line in text.splitlines():
        *told, owner = (part.strip() for part in line.split("|"))
        # Ids begin again some day: a number alone may be another's job by now.
        if len(told) == len(columns) - 1 and (user is None or owner == str(user)):
            yield from _seen(raw=line, **dict(zip(columns, told, strict=False)))


def scontrol(text: str) -> Iterator[Seen]:
    """Read ``scontrol --oneliner show job``: of what is known where accounting is off."""
    for line in text.splitlines():
        found = dict(word.split("=", 1) for word in line.split() if "=" in word)
        if "JobId" in found and "JobState" in found:
            job = found.get("ArrayJobId", found["JobId"])
            if "ArrayTaskId" in found:
                job += f"_[{found['ArrayTaskId']}]"
            told = {name: found[key] for key, name in _SCONTROL.items() if key in found}
            yield from _seen(job, raw=line, **told)


def _seen(job: str, *, submitted: str = "", **told: str) -> Iterator[Seen]:
    match = _JOB.fullmatch(job)
    if match is None:
        return
    number, single, several, closed = match.groups()
    if several is not None and not closed:  # cut short by squeue: what is surely there
        several = several.rpartition(",")[0]
    listed = several if single is None else single
    positions = None if listed is None else tuple(read_ranges(listed, LAST_POSITION))
    yield Seen(job=number, positions=positions, status=status(**told), submitted=submitted)


def status(
    state: str, *, code: str = "", reason: str = "", nodes: str = "", started: str = "",
    ended: str = "", raw: str = "",
) -> JobStatus:  # fmt: skip
    """Return what a state means. One that is not known is UNKNOWN, and never a success."""
    word = _state(state)
    why = reason.strip().replace(" ", "_")
    numbers = _CODE.fullmatch(code.strip())
    exit_code, signal = (int(numbers[1]), int(numbers[2])) if numbers else (None, None)
    cause, running, began = UNKNOWN, False, iso_time(started)
    told = f"Slurm says {state.strip()!r}"
    if word in LIVE_STATES:
        running = LIVE_STATES[word]
        never = "" if running else _never(word, why)
        cause, told = (HELD, f"{why}: {never}") if never else ("", "")
        began = began if running else None  # of one that waits, squeue prints when it may start
    elif word in ENDED_STATES:
        cause, told = ENDED_STATES[word], _ended(state, word, exit_code, signal)
        if _dropped(state, why, code):
            cause = LOST  # nobody cancelled it, and it has not run
            told = "Slurm took it out of the queue: the job it waited for did not end well"
    return JobStatus(
        state=ENDED if word in ENDED_STATES else LIVE,
        running=running,
        cause=cause,
        exit_code=exit_code,
        signal=signal,
        nodes=() if nodes in ("", "None assigned", "(null)") else (nodes,),
        started=began,
        ended=iso_time(ended),
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
    return NEVER.get(why) or NEVER.get(word, "")


def _dropped(state: str, why: str, code: str) -> bool:
    """Whether Slurm took a job out of the queue for what it waited for, and no person did.

    squeue, which has no exit code, says so by the reason; it keeps "Dependency" for what a person
    cancelled. Accounting says "Dependency" of both, and by whom it was cancelled.
    """
    dropped = why == "DependencyNeverSatisfied" or (why == "Dependency" and bool(code))
    return state.strip() == "CANCELLED" and dropped


def _ended(state: str, word: str, exit_code: int | None, signal: int | None) -> str:
    if word == "FAILED" and (exit_code, signal) == (0, 53):
        return "Slurm could not start it: the folder of its log or its working directory is missing"
    if word == "FAILED" and (exit_code or signal):
        # Slurm turns a shell's 137 into 9.
        also = ", or killed by signal 9" if exit_code == 9 and not signal else ""
        return ended_badly(exit_code, signal) + also
    if word == "COMPLETED":
        return ""
    return f"Slurm says {state.strip() if state.strip().startswith(word) else word}"


def merge(queue: Iterable[Seen], accounting: Iterable[Seen] = ()) -> dict[str, JobStatus]:
    """Return one status for each job: of an array, what is said of its positions.

    An array lives while any position of it lives. The queue knows what lives, accounting
    better what has ended; of several incarnations (requeued) the one submitted last counts.
    """
    asked = list(queue)
    ended = (one for one in accounting if one.status.state == ENDED)
    over = [one for one in asked if one.status.state == ENDED]
    alive = [one for one in asked if one.status.state == LIVE]
    whole: dict[str, JobStatus] = {}
    lines: dict[str, list[Seen]] = {}
    for one in [*over, *sorted(ended, key=lambda one: one.submitted), *alive]:
        if one.positions is None:
            whole[one.job] = one.status
        else:
            lines.setdefault(one.job, []).append(one)
    for job, of_job in lines.items():
        places = {place: one.status for one in of_job for place in one.positions or ()}
        # Of which positions they tell is not sure.
        whole[job] = array_status(places, [one.status for one in of_job if not one.positions])
    return whole


def named(text: str, names: Collection[str]) -> dict[str, str]:
    """Return the job id of each of these names in lines ``id|name``; the last one counts."""
    return {name: job for job, name in _NAMED.findall(text) if name in names}
