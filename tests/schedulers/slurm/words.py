"""Slurm's names for the engine's states, and how it writes ids, times and sizes."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable

from ..engine import model
from ..engine.model import Job

STATES = {
    # state or outcome: long, short
    "pending": ("PENDING", "PD"), "running": ("RUNNING", "R"), "completing": ("COMPLETING", "CG"),
    "done": ("COMPLETED", "CD"), "failed": ("FAILED", "F"), "cancelled": ("CANCELLED", "CA"),
    "timeout": ("TIMEOUT", "TO"), "memory": ("OUT_OF_MEMORY", "OOM"),
    "node": ("NODE_FAIL", "NF"), "preempted": ("PREEMPTED", "PR"), "requeued": ("REQUEUED", "RQ"),
}  # fmt: skip
REASONS = {
    model.NONE: "None", model.HELD: "JobHeldUser", model.BEGIN: "BeginTime",
    model.DEPENDENCY: "Dependency", model.NEVER: "DependencyNeverSatisfied",
    model.THROTTLE: "JobArrayTaskLimit", model.PRIORITY: "Priority",
    model.RESOURCES: "Resources", model.PARTITION_DOWN: "PartitionDown",
    model.PARTITION_TIME: "PartitionTimeLimit", model.PARTITION_SIZE: "PartitionConfig",
    model.LAUNCH: "JobLaunchFailure", model.EXIT_CODE: "NonZeroExitCode",
    model.NO_MEMORY: "OutOfMemory", model.TIME_LIMIT: "TimeLimit", model.NODE_DOWN: "NodeDown",
    model.UNKNOWN_QOS: "InvalidQOS",
}  # fmt: skip
_ALL_STATES = (
    "PENDING,RUNNING,SUSPENDED,COMPLETED,CANCELLED,FAILED,TIMEOUT,NODE_FAIL,PREEMPTED,BOOT_FAIL,"
    "DEADLINE,OUT_OF_MEMORY,COMPLETING,CONFIGURING,RESIZING,RESV_DEL_HOLD,REQUEUED,REQUEUE_FED,"
    "REQUEUE_HOLD,REVOKED,SIGNALING,SPECIAL_EXIT,STAGE_OUT,STOPPED"
)
VALID_STATES = _ALL_STATES
CONTACT = "Unable to contact slurm controller (connect failure)"
TIMED_OUT = "Socket timed out on send/recv operation"


def state(job: Job) -> tuple[str, str]:
    """Return the long and the short name of a job's state."""
    return STATES[job.outcome if job.state == model.ENDED else job.state]


def states(text: str) -> set[str] | str:
    """Read a list of states, by long or short names; return the first unknown name, if any."""
    full_names = {short: full for full, short in STATES.values()}
    names = set()
    for word in text.upper().split(","):
        name = full_names.get(word, word)
        if name == "ALL":
            return set(_ALL_STATES.split(","))
        if name not in _ALL_STATES.split(","):
            return text.split(",")[text.upper().split(",").index(word)]
        names.add(name)
    return names


def exit_code(status: int | None, outcome: str) -> str:
    """Write how a job ended as ``code:signal``."""
    if outcome == model.MEMORY:
        return "0:125"
    if status is None or outcome not in (model.FAILED, model.DONE):
        return "0:0"
    if status == model.MISSING_FOLDER:
        return "0:53"
    if os.WIFSIGNALED(status):
        return f"0:{os.WTERMSIG(status)}"
    code = os.WEXITSTATUS(status)
    return f"{code - 128 if code > 128 else code}:0"


def moment(seconds: float, otherwise: str = "Unknown") -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(seconds)) if seconds else otherwise


def span(seconds: float) -> str:
    """Write a duration as accounting does, ``[d-]hh:mm:ss``."""
    days, remainder = divmod(int(seconds), 86400)
    clock = f"{remainder // 3600:02}:{remainder // 60 % 60:02}:{remainder % 60:02}"
    return f"{days}-{clock}" if days else clock


def short_span(seconds: float) -> str:
    """Write a duration as the queue does, without leading zero parts."""
    days, remainder = divmod(int(seconds), 86400)
    hours = remainder // 3600
    end = f"{remainder // 60 % 60:02}:{remainder % 60:02}"
    if days:
        return f"{days}-{hours:02}:{end}"
    return f"{hours}:{end}" if hours else f"{remainder // 60 % 60}:{remainder % 60:02}"


def size(megabytes: int) -> str:
    return f"{megabytes // 1024}G" if megabytes % 1024 == 0 and megabytes else f"{megabytes}M"


def indices(positions: Iterable[int], throttle: int = 0) -> str:
    """Write positions as Slurm does: ``0-3,7%2``."""
    spans: list[list[int]] = []
    for position in sorted(positions):
        if spans and position == spans[-1][1] + 1:
            spans[-1][1] = position
        else:
            spans.append([position, position])
    text = ",".join(f"{a}" if a == b else f"{a}-{b}" for a, b in spans)
    return f"{text}%{throttle}" if throttle else text


def hosts(names: list[str]) -> str:
    """Write node names as a host list: ``n[1-2]``."""
    if len(names) < 2:
        return "".join(names)
    head = names[0].rstrip("0123456789")
    return f"{head}[{indices(int(name[len(head) :]) for name in names)}]"


def dependency(job: Job) -> str:
    """Write what a job waits for as squeue does."""
    parts = []
    for dependency in job.dependencies:
        kind = {"any": "afterany", "ok": "afterok", "notok": "afternotok", "corr": "aftercorr"}
        target = ""
        if dependency.kind != "singleton":
            target = f":{dependency.job}" + (
                f"_{dependency.index}" if dependency.index is not None else ""
            )
            if dependency.index is None and dependency.array:
                target += "_*"
            if dependency.delay:
                target += f"+{int(dependency.delay / 60)}"
        parts.append(f"{kind.get(dependency.kind, dependency.kind)}{target}({dependency.state})")
    return ("?" if job.request.any_of else ",").join(parts) or "(null)"


# Reading


def time_limit(text: str) -> int | None:
    """Read a time limit in seconds, rounded up to minutes; None if it is not one."""
    if text.upper() in ("UNLIMITED", "INFINITE"):
        return 365 * 86400
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text)
    if match is None:
        return None
    days, first, second, third = (int(part) if part else None for part in match.groups())
    if days is not None:
        seconds = days * 86400 + (first or 0) * 3600 + (second or 0) * 60 + (third or 0)
    elif third is not None:
        seconds = (first or 0) * 3600 + (second or 0) * 60 + third
    else:
        seconds = (first or 0) * 60 + (second or 0)
    return -(-seconds // 60) * 60


def megabytes(text: str) -> int | None:
    """Read a size in megabytes, rounded up; None if it is not a size."""
    match = re.fullmatch(r"(\d+)([KkMmGgTt]?)[Bb]?", text)
    if match is None:
        return None
    number, unit = int(match[1]), match[2].upper()
    return (
        -(-number // 1024)
        if unit == "K"
        else number * {"": 1, "M": 1, "G": 1024}.get(unit, 1 << 20)
    )


_UNITS = {
    "second": 1,
    "sec": 1,
    "minute": 60,
    "min": 60,
    "hour": 3600,
    "day": 86400,
    "week": 604800,
}


def point(text: str) -> float | None:
    """Read a point in time, such as ``now+1hour`` or ``2026-01-31T12:00``."""
    now = time.time()
    match = re.fullmatch(r"now(?:([+-])(\d+)([a-z]*))?", text.lower())
    if match:
        sign, number, unit = match.groups()
        if number is None:
            return now
        unit = unit[:-1] if unit.endswith("s") and unit != "s" else unit
        factor = 1 if not unit else _UNITS.get(unit)
        return None if factor is None else now + (-1 if sign == "-" else 1) * int(number) * factor
    today = time.strftime("%Y-%m-%d", time.localtime(now))
    special = {"today": "00:00", "midnight": "00:00", "noon": "12:00"}.get(text.lower(), text)
    for moment, form in (
        (text, "%Y-%m-%dT%H:%M:%S"), (text, "%Y-%m-%dT%H:%M"), (text, "%Y-%m-%d"),
        (f"{today}T{special}", "%Y-%m-%dT%H:%M:%S"), (f"{today}T{special}", "%Y-%m-%dT%H:%M"),
    ):  # fmt: skip
        try:
            return time.mktime(time.strptime(moment, form))
        except ValueError:
            continue
    return None
