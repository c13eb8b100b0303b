"""What Grid Engine's commands print, read into neutral words; pure.

Manual pages: qstat(1) and accounting(5) of Son of Grid Engine 8.1.9. Nothing here raises for
what it cannot read: what is no answer is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from html import unescape

from attrs import evolve, frozen

from reflow.executors.base import ENDED, LIVE, JobStatus
from reflow.executors.parsing import iso_time, only_id
from reflow.states import CANCELLED, ERROR, HELD, NODE_FAIL, OOM, TIMEOUT, UNKNOWN

LIMIT = re.compile(r"only \d+ jobs are allowed|try again later")
"""What qsub says where the job could be taken later."""
UNREACHABLE = re.compile(
    r"commlib error|unable to (?:send message|contact)|got (?:send|select|read) error|"
    r"answer list from qmaster|failed receiving gdi|timeout", re.IGNORECASE
)  # fmt: skip
AGAIN = ("24", "25")
"""Codes of what was put back into the queue: of a start, not of an end."""
NODE_CODES = ("19", "21")
"""The node's daemon had lost the job: "before writing exit_status", "in recognizing job"."""
MOST_TASKS = 10_000_000

_LISTED = re.compile(r'<job_list state="[a-z]*">(.*?)</job_list>', re.DOTALL)
_FIELD = re.compile(r"<(\w+)>([^<]*)</\1>")
_SPAN = re.compile(r"(\d+)(?:-(\d+)(?::(\d+))?)?")
_RULE = re.compile(r"^={30,}\s*$", re.MULTILINE)
_LIMITS = re.compile(r"\b(h_rt|s_rt|h_vmem|h_rss)=([^,\s]+)")
_LONG = re.compile(r"[A-Z][a-z]+ ([A-Z][a-z]{2}) +(\d{1,2}) (\d\d:\d\d:\d\d) (\d{4})")
_SHORT = re.compile(r"(\d\d)/(\d\d)/(\d{4}) (\d\d:\d\d:\d\d(?:\.\d{3})?)")
_MONTHS = "JanFebMarAprMayJunJulAugSepOctNovDec"
_UNITS = {"K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


@frozen(kw_only=True)
class Listed:
    """One row of qstat: a job, or some tasks of an array (None: of no array)."""

    job: str
    name: str
    status: JobStatus
    tasks: tuple[int, ...] | None = None


def job_id(text: str) -> str:
    """Return the id that ``qsub -terse`` printed, ``32`` or ``32.1-10:1``; else `ValueError`."""
    found = re.findall(r"^\s*(\d+)(?:\.\d+-\d+:\d+)?\s*$", text, re.MULTILINE)
    return only_id("qsub", text, found)


def tasks(text: str) -> Iterator[int]:
    """Yield the tasks of a list.

    >>> list(tasks("3,7-11:2,20-21:1"))
    [3, 7, 9, 11, 20, 21]
    """
    for span in map(_SPAN.fullmatch, text.split(",")):
        if span and int(span[2] or span[1]) < MOST_TASKS:
            yield from range(int(span[1]), int(span[2] or span[1]) + 1, int(span[3] or 1) or 1)


def listed(text: str) -> Iterator[Listed]:
    """Read ``qstat -r -xml``."""
    for entry in _LISTED.findall(text):
        found = dict(_FIELD.findall(entry))
        job, letters = found.get("JB_job_number", ""), found.get("state", "")
        running = re.search("[rtsSTN]", letters) is not None and "w" not in letters
        cause, reason = "", ""
        if not re.fullmatch("[dEhrRstSTNPwqnm]+", letters):
            cause, reason = UNKNOWN, f"Grid Engine says {letters!r}"
        elif "E" in letters:
            cause, reason = HELD, f"{letters}: it is in error, qstat -j {job} says why; qmod -cj"
        elif "h" in letters and not running and "predecessor_jobs>" not in entry:
            cause, reason = HELD, f"{letters}: it is held: qrls"
        host = found.get("queue_name", "").rpartition("@")[2]
        status = JobStatus(
            state=LIVE, running=running, cause=cause, reason=reason, raw=letters,
            nodes=(host,) if host else (),
            started=_time(found.get("JAT_start_time", "")) if running else None,
        )  # fmt: skip
        places = tuple(tasks(found["tasks"])) if "tasks" in found else None
        if job.isdecimal():
            name = unescape(found.get("JB_name", ""))
            yield Listed(job=job, name=name, status=status, tasks=places)


def living(rows: Iterable[Listed], jobs: Collection[str]) -> dict[str, JobStatus]:
    """Return one status for each of these jobs that is in the queue, task t as position t-1."""
    wanted, found = set(jobs), dict[str, JobStatus]()
    places: dict[str, dict[int, JobStatus]] = {}
    for row in (row for row in rows if row.job in wanted):
        one = found.setdefault(row.job, row.status)
        if (row.status.running, row.status.cause) > (one.running, one.cause):
            found[row.job] = row.status
        part = dict.fromkeys((task - 1 for task in row.tasks or ()), row.status)
        places.setdefault(row.job, {}).update(part)
    return {job: evolve(one, positions=places[job]) for job, one in found.items()}


def error_reasons(text: str) -> dict[str, str]:
    """Return for each job the first reason of its error, from ``qstat -j``."""
    found: dict[str, str] = {}
    job = ""
    for name, value in re.findall(r"^(job_number|error reason +\d+):\s+(.*)$", text, re.MULTILINE):
        if name == "job_number":
            job = value
        else:  # 11/23/2026 04:50:56 [1001:30705]: error: can't chdir to …
            found.setdefault(job, re.sub(r"^.*?\]:\s*(error:\s*)?", "", value))
    return found


def ended(text: str, user: str) -> dict[str, tuple[JobStatus, float]]:
    """Read ``qacct -j``: for each job its status, and when the last of its tasks has ended.

    Of several jobs of one number the one submitted last counts, of several starts the last.
    """
    records: dict[str, tuple[float, dict[str, JobStatus]]] = {}
    for entry in _RULE.split(text)[1:]:
        parts = (line.partition(" ") for line in entry.split("\n"))
        found = {name: value.strip() for name, _, value in parts}
        job, failed = found.get("jobnumber", ""), found.get("failed", "").split(":")[0].strip()
        if not job.isdecimal() or found.get("owner") != user or failed in AGAIN:
            continue
        when = _time(found.get("qsub_time", "")) or 0.0
        if job not in records or when > records[job][0]:
            records[job] = when, {}
        if when == records[job][0]:
            records[job][1][found.get("taskid", "")] = status(found)
    result = {}
    for job, (_, by_task) in records.items():
        last = list(by_task.values())
        first = next((one for one in last if one.cause), last[0])
        places = {int(task) - 1: one for task, one in by_task.items() if task.isdecimal()}
        end = max(one.ended or 0.0 for one in last)
        result[job] = (evolve(first, positions=places), end)
    return result


def named(text: str, names: Collection[str]) -> dict[str, str]:
    """Return the job of each of these names in ``qacct -j``; the last one counts."""
    pairs = re.findall(r"^jobname +(\S+)\s*\njobnumber +(\d+)\s*$", text, re.MULTILINE)
    return {name: job for name, job in pairs if name in names}


def status(record: Mapping[str, str]) -> JobStatus:
    """Return how a job or a task ended. A code that is not known is never a success."""
    failed, _, said = (part.strip() for part in record.get("failed", "").partition(":"))
    number = re.match(r"\d+", record.get("exit_status", ""))
    code = int(number[0]) if number else None
    # What a signal ended has failed 100; a script that says "exit 137" has failed 0.
    signal = code - 128 if failed not in ("0", "") and code is not None and code > 128 else None
    cause, reason = _cause(record, failed, said, code, signal)
    host = record.get("hostname", "")
    return JobStatus(
        state=ENDED, cause=cause, reason=reason, exit_code=None if signal else code, signal=signal,
        nodes=(host,) if host else (), started=_time(record.get("start_time", "")),
        ended=_time(record.get("end_time", "")),
        raw=f"failed {record.get('failed', '')}, exit_status {record.get('exit_status', '')}",
        # A qdel leaves the same record, and what a person ended must not be tried again.
        suspected="",
    )  # fmt: skip


def _cause(
    record: Mapping[str, str], failed: str, said: str, code: int | None, signal: int | None
) -> tuple[str, str]:
    by = record.get("deleted_by", "NONE")  # Univa's and Altair's tell it
    if by not in ("NONE", ""):
        return CANCELLED, f"deleted by {by}"
    if failed == "0" and code is not None:
        return (ERROR, f"exit code {code}") if code else ("", "")
    if failed == "37" or signal in (9, 10):  # SIGUSR1 is what s_rt sends
        limits = dict(_LIMITS.findall(record.get("category", "")))
        time = limits.get("s_rt" if signal == 10 else "h_rt")
        if time and _amount(record.get("ru_wallclock", "")) >= _amount(time):
            return TIMEOUT, f"it met its time limit of {time} s"
        most = limits.get("h_vmem") or limits.get("h_rss")
        if most and _amount(record.get("maxvmem", "")) >= 0.95 * _amount(most):
            return OOM, f"it met its memory limit of {most}"
        if failed == "37":
            return TIMEOUT, f"Grid Engine says: {said}"
    if signal == 9:  # the record of a job that qdel has ended is the same
        return ERROR, "killed (signal 9): by qdel or for its memory, Grid Engine does not tell"
    if signal:
        return ERROR, f"killed by signal {signal}"
    if not failed.isdecimal():
        return UNKNOWN, f"Grid Engine says {record.get('failed', '')!r}"
    cause = NODE_FAIL if failed in NODE_CODES else ERROR
    return cause, f"Grid Engine says: {said or f'failed {failed}'}"


def _amount(text: str) -> float:
    """Return a number of qacct: ``4s``, ``200M``, ``1.500GB``; 0 for none."""
    match = re.match(r"(\d+(?:\.\d+)?)(\w?)", text)
    return float(match[1]) * _UNITS.get(match[2].upper(), 1) if match else 0.0


def cell_settings(text: str) -> tuple[int | None, float | None]:
    """Return the most tasks of an array, and the lag of accounting, from ``qconf -sconf``."""
    size = re.search(r"^max_aj_tasks\s+([1-9]\d*)\s*$", text, re.MULTILINE)
    found = dict(re.findall(r"\b((?:accounting_)?flush_time)=(\d+:\d+:\d+)", text))
    given = found.get("accounting_flush_time") or found.get("flush_time")
    parts = [int(part) for part in given.split(":")] if given else []
    lag = 3600.0 * parts[0] + 60 * parts[1] + parts[2] if parts else None
    return int(size[1]) if size else None, lag


@lru_cache(maxsize=4096)  # many tasks of an array have the same
def _time(text: str) -> float | None:
    # 2026-11-23T04:51:43, Mon Nov 23 04:53:24 2026, and Univa's 11/23/2026 04:53:24.123
    if found := _LONG.fullmatch(text):
        month = 1 + _MONTHS.find(found[1]) // 3
        text = f"{found[4]}-{month:02}-{int(found[2]):02}T{found[3]}"
    elif found := _SHORT.fullmatch(text):
        text = f"{found[3]}-{found[1]}-{found[2]}T{found[4]}"
    return iso_time(text)
