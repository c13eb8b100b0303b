"""What Slurm's commands print, read into neutral words; pure.

Manual pages are those of Slurm 22.05; what is called seen, tests/schedulers/test_slurm_facts.py
holds against a real one. Nothing here raises for what it cannot read: other lines are left out.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from functools import partial

from reflow.executors import parsing
from reflow.executors.base import ENDED, LIVE, JobStatus
from reflow.executors.parsing import Report, ended_badly, iso_time, read_ranges, size_in
from reflow.states import CANCELLED, ERROR, HELD, LOST, NODE_FAIL, OOM, PREEMPTED, TIMEOUT, UNKNOWN

# squeue(1) and sacct(1), "JOB STATE CODES", by their compact codes
_WAITING = {
    "PD": "PENDING", "CF": "CONFIGURING", "RQ": "REQUEUED", "RF": "REQUEUE_FED",
    "RH": "REQUEUE_HOLD", "RD": "RESV_DEL_HOLD", "SE": "SPECIAL_EXIT",
    "RV": "REVOKED",  # in a federation another cluster has the job now, and runs it
}  # fmt: skip
_RUNNING = {
    "R": "RUNNING", "CG": "COMPLETING", "S": "SUSPENDED", "ST": "STOPPED", "RS": "RESIZING",
    "SI": "SIGNALING", "SO": "STAGE_OUT",
}  # fmt: skip
_ENDED = {
    "CD": ("COMPLETED", ""), "F": ("FAILED", ERROR), "CA": ("CANCELLED", CANCELLED),
    "TO": ("TIMEOUT", TIMEOUT), "DL": ("DEADLINE", TIMEOUT), "NF": ("NODE_FAIL", NODE_FAIL),
    "BF": ("BOOT_FAIL", NODE_FAIL), "OOM": ("OUT_OF_MEMORY", OOM), "PR": ("PREEMPTED", PREEMPTED),
}  # fmt: skip
COMPACT = {**_WAITING, **_RUNNING, **{code: name for code, (name, _) in _ENDED.items()}}
LIVE_STATES = dict.fromkeys([*_WAITING.values(), "POWER_UP_NODE", *_RUNNING.values()], False)
LIVE_STATES |= dict.fromkeys(_RUNNING.values(), True)
"""Whether a job runs in each state in which Slurm has it."""
ENDED_STATES = dict(_ENDED.values())
"""The cause of each state in which a job has ended; "" where it ended well."""

# squeue(1), "JOB REASON CODES"; of the scheduler's source, enum job_state_reason
NEVER = {
    "DependencyNeverSatisfied": "the job it waits for can never end as it was asked to",
    "PartitionTimeLimit": "it asks for more time than its partition allows",
    "PartitionNodeLimit": "it asks for more nodes than its partition allows",
    "PartitionConfig": "it asks for more than its partition can give",
    "PartitionInactive": "its partition is inactive", "PartitionDown": "its partition is down",
    "BadConstraints": "no node meets its constraints",
    "InvalidAccount": "its account is not valid", "InvalidQOS": "its QOS is not valid",
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

# AssocMaxWallDurationPerJobLimit, QOSMaxMemoryPerJob, QOSMinGRES … of one job: it asks for more, or
# for less, than it may ever have. Other limits pass as other jobs end (same page).
_PER_JOB = re.compile(r"(?:Assoc|QOS)(?:Max\w+PerJob|Max\w+PerNode|Min\w+)(?:Limit)?")

LIMIT = re.compile(
    r"MaxSubmitJob|GrpSubmitJob|MaxJobCount|temporarily unable to accept job|"
    r"Resource temporarily unavailable|I/O error writing script"
)
"""What sbatch says where the job could be taken later (seen; slurm_errno.c)."""
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
"""What commands say where slurmctld, slurmdbd or munge does not answer (seen; slurm_errno.c)."""
UNKNOWN_ID = re.compile(r"Invalid job id")
"""What squeue says of a single id that it has forgotten; among others it leaves it out (seen)."""
HARMLESS = re.compile(r"Invalid job id|already compl|denied", re.IGNORECASE)
"""What scancel says of jobs that are gone, or that are another's by now (seen)."""

# squeue(1), "JOBID"; sacct(1), "JobID"; sbatch(1), "--array": 5_[0-9,12%3], 5_3, 5, and 12+0, the
# leader of a heterogeneous job; 5_[0,2,...] is cut short. Not 5.batch, which is a step.
_JOB = re.compile(r"([0-9]+)(?:_(?:([0-9]+)|\[([^\]]*)(\]?))|\+0)?")
_CODE = re.compile(r"([0-9]+):([0-9]+)")  # sacct(1), "ExitCode": code and signal
_WORD = re.compile(r"([A-Z_]+)(\+?)")
_NAMED = re.compile(r"^\s*([0-9]+)(?:_[^|\s]+|\+0)?\s*\|[ \t]*(.*?)\s*$", re.MULTILINE)

JOB_ID = re.compile(r"^\s*([0-9]+)(?:;\S+)?\s*$", re.MULTILINE)
"""What ``sbatch --parsable`` prints: ``32``, or ``32;cluster`` (sbatch(1))."""

LAST_POSITION = 4_000_000
"""MaxArraySize is 4000001 at the most (slurm.conf(5))."""

# squeue(1) and sacct(1), "--format", and what `_reports` calls these columns
SQUEUE_FORMAT = "%i|%T|%r|%N|%S|%V|%U"
_SQUEUE = ("job", "state", "reason", "nodes", "started", "submitted", "user")
SACCT_FIELDS = "JobID,State,ExitCode,Reason,NodeList,Start,End,Submit,UID"
_SACCT = ("job", "state", "code", "reason", "nodes", "started", "ended", "submitted", "user")
_SCONTROL = {
    "JobState": "state", "ExitCode": "code", "Reason": "reason", "NodeList": "nodes",
    "StartTime": "started", "EndTime": "ended", "SubmitTime": "submitted",
}  # fmt: skip


def array_size(text: str) -> int | None:
    """Return the elements that an array may have, from ``scontrol show config``."""
    size = size_in(r"^MaxArraySize\s*=\s*([0-9]+)\s*$", text)
    # A site may allow larger indices than it takes elements: slurm.conf(5), SchedulerParameters.
    fewer = size_in(r"^SchedulerParameters\s*=.*\bmax_array_tasks=([0-9]+)", text)
    return min(size, fewer) if size is not None and fewer is not None else size


def _rows(
    text: str, user: int | None = None, *, columns: tuple[str, ...]
) -> Iterator[Report]:
    """Read cells between bars; jobs of others than `user` are left out."""
    for line in text.splitlines():
        *cells, owner = (cell.strip() for cell in line.split("|"))
        # Ids begin again some day (slurm.conf(5), MaxJobId): a number may be another's by now.
        if len(cells) == len(columns) - 1 and (user is None or owner == str(user)):
            yield from _reports(raw=line, **dict(zip(columns, cells, strict=False)))


squeue = partial(_rows, columns=_SQUEUE)
"""Reads ``squeue --noheader -o SQUEUE_FORMAT``."""
sacct = partial(_rows, columns=_SACCT)
"""Reads ``sacct --noheader --parsable2 --allocations --format SACCT_FIELDS``."""


def scontrol(text: str) -> Iterator[Report]:
    """Read ``scontrol --oneliner show job``: of what is known where accounting is off."""
    for line in text.splitlines():
        fields = dict(word.split("=", 1) for word in line.split() if "=" in word)
        if "JobId" in fields and "JobState" in fields:
            job = fields.get("ArrayJobId", fields["JobId"])
            if "ArrayTaskId" in fields:
                job += f"_[{fields['ArrayTaskId']}]"
            cells = {name: fields[key] for key, name in _SCONTROL.items() if key in fields}
            yield from _reports(job, raw=line, **cells)


def _reports(job: str, *, submitted: str = "", **cells: str) -> Iterator[Report]:
    match = _JOB.fullmatch(job)
    if match is None:
        return
    number, single, several, closed = match.groups()
    if several is not None and not closed:  # cut short by squeue: its last number may be, too
        several = several.rpartition(",")[0]
    listed = several if single is None else single
    positions = None if listed is None else tuple(read_ranges(listed, LAST_POSITION))
    when = iso_time(submitted) or 0.0
    yield Report(job=number, positions=positions, status=status(**cells), submitted=when)


def status(
    state: str, *, code: str = "", reason: str = "", nodes: str = "", started: str = "",
    ended: str = "", raw: str = "",
) -> JobStatus:  # fmt: skip
    """Return what a state means. One that is not known is UNKNOWN, and never a success."""
    word, why = _state(state), reason.strip().replace(" ", "_")
    numbers = _CODE.fullmatch(code.strip())
    exit_code, signal = (int(numbers[1]), int(numbers[2])) if numbers else (None, None)
    running = LIVE_STATES.get(word, False)
    if word in ENDED_STATES:
        dropped = _dropped(state, why, code)
        cause = LOST if dropped else ENDED_STATES[word]
        text = _DROPPED if dropped else _end(state.strip(), word, exit_code, signal)
    elif word in LIVE_STATES:
        never = "" if running else _never(word, why)
        cause, text = (HELD, f"{why}: {never}") if never else ("", "")
    else:
        cause, text = UNKNOWN, f"Slurm says {state.strip()!r}"
    # Of a job that waits, squeue prints when it may start (squeue(1), "StartTime").
    waits = word in LIVE_STATES and not running
    return JobStatus(
        state=ENDED if word in ENDED_STATES else LIVE, running=running, cause=cause,
        exit_code=exit_code, signal=signal, reason=text, raw=raw,
        nodes=() if nodes in ("", "None assigned", "(null)") else (nodes,),
        started=None if waits else iso_time(started), ended=iso_time(ended),
    )  # fmt: skip


def _state(text: str) -> str:
    """Return the state's name: of "CANCELLED by 1001", "OUT_OF_ME+" and "CD" too."""
    match = _WORD.match(text.strip())
    if match is None:
        return ""
    word, cut = match.groups()
    if cut:  # sacct(1), "--parsable": other output is cut to its column
        names = [name for name in (*LIVE_STATES, *ENDED_STATES) if name.startswith(word)]
        return names[0] if len(names) == 1 else ""
    return COMPACT.get(word, word)


def _never(word: str, why: str) -> str:
    if _PER_JOB.fullmatch(why):
        return "it asks for more than its account, QOS or partition allows one job"
    return NEVER.get(why) or NEVER.get(word, "")


_DROPPED = "Slurm took it out of the queue: the job it waited for did not end well"


def _dropped(state: str, why: str, code: str) -> bool:
    """Whether Slurm took a job out of the queue for what it waited for, and no person did.

    squeue, which has no exit code, says so by the reason; it keeps "Dependency" for what a person
    cancelled. Accounting says "Dependency" of both, and by whom it was cancelled.
    """
    dropped = why == "DependencyNeverSatisfied" or (why == "Dependency" and bool(code))
    return state.strip() == "CANCELLED" and dropped


def _end(state: str, word: str, exit_code: int | None, signal: int | None) -> str:
    """Say how a job has ended; "" where it ended well."""
    if word == "FAILED" and (exit_code, signal) == (0, 53):  # seen; nothing was started, or logged
        return "Slurm could not start it: the folder of its log or its working directory is missing"
    if word == "FAILED" and (exit_code or signal):
        # Slurm turns a shell's 137 into 9:0 (seen).
        also = ", or killed by signal 9" if exit_code == 9 and not signal else ""
        return ended_badly(exit_code, signal) + also
    if word == "COMPLETED":
        return ""
    return f"Slurm says {state if state.startswith(word) else word}"


def merge(queue: Iterable[Report], accounting: Iterable[Report] = ()) -> dict[str, JobStatus]:
    """Return one status for each job: of an array, what is said of its positions.

    The queue knows what lives, accounting better what has ended; of several incarnations
    (requeued) the one submitted last counts.
    """
    queue = list(queue)
    ended = (report for report in accounting if report.status.state == ENDED)
    over = [report for report in queue if report.status.state == ENDED]
    alive = [report for report in queue if report.status.state == LIVE]
    return parsing.merge([*over, *sorted(ended, key=lambda report: report.submitted), *alive])


def named(text: str, names: Collection[str]) -> dict[str, str]:
    """Return the job id of each of these names in lines ``id|name``; the last one counts."""
    return {name: job for job, name in _NAMED.findall(text) if name in names}
