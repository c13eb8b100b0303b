"""What Grid Engine's commands print, read into neutral words; pure.

Manual pages are those of Son of Grid Engine 8.1.9; what is called seen,
tests/schedulers/test_sge_facts.py holds against a real one. Nothing here raises for what it cannot
read: what is no answer is left out.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from html import unescape

from attrs import evolve

from reflow.executors.base import ENDED, LIVE, JobStatus
from reflow.executors.parsing import Report, c_time, iso_time, read_ranges, signal_of
from reflow.states import CANCELLED, ERROR, HELD, NODE_FAIL, OOM, TIMEOUT, UNKNOWN

LIMIT = re.compile(r"only \d+ jobs are allowed|try again later")
"""What qsub says where the job could be taken later (seen; sge_conf(5), max_u_jobs)."""
FORBIDDEN = re.compile("is (?:no|not a) submit host")
"""What it says on a host that is not among ``qconf -ss`` (qconf(1); seen)."""
UNREACHABLE = re.compile(
    r"commlib error|unable to (?:send message|contact)|got (?:send|select|read) error|"
    r"answer list from qmaster|failed receiving gdi|timeout", re.IGNORECASE
)  # fmt: skip
"""What commands say where qmaster does not answer (seen)."""
HARMLESS = re.compile(
    "does not exist|already in deletion|has registered the|has deleted|privileges"
)
"""What qdel says of jobs that it takes out, that are gone, or that are another's by now (seen)."""
JOB_ID = re.compile(r"^\s*(\d+)(?:\.\d+-\d+:\d+)?\s*$", re.MULTILINE)
"""What ``qsub -terse`` prints: ``32``, or ``32.1-10:1`` of an array (submit(1); seen)."""
AGAIN = ("24", "25")
"""Codes of what was put back into the queue: of a start, not of an end (accounting(5), failed)."""
NODE_CODES = ("19", "21")
"""The node's daemon had lost the job: "before writing exit_status", "in recognizing job" (same)."""
LAST_TASK = 9_999_999

_LISTED = re.compile(r'<job_list state="[a-z]*">(.*?)</job_list>', re.DOTALL)
_FIELD = re.compile(r"<(\w+)>([^<]*)</\1>")
_RULE = re.compile(r"^={30,}\s*$", re.MULTILINE)
_LIMITS = re.compile(r"\b(h_rt|s_rt|h_vmem|h_rss)=([^,\s]+)")
_SHORT = re.compile(r"(\d\d)/(\d\d)/(\d{4}) (\d\d:\d\d:\d\d(?:\.\d{3})?)")
_UNITS = {"K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


def listed(text: str) -> Iterator[Report]:
    """Read ``qstat -r -xml``; qstat(1), "OUTPUT FORMATS"."""
    for entry in _LISTED.findall(text):
        fields = dict(_FIELD.findall(entry))
        job, letters = fields.get("JB_job_number", ""), fields.get("state", "")
        running = re.search("[rtsSTN]", letters) is not None and "w" not in letters
        cause, reason = _waiting(job, letters, running, "predecessor_jobs>" in entry)
        host = fields.get("queue_name", "").rpartition("@")[2]
        status = JobStatus(
            state=LIVE, running=running, cause=cause, reason=reason, raw=letters,
            nodes=(host,) if host else (),
            started=_time(fields.get("JAT_start_time", "")) if running else None,
        )  # fmt: skip
        tasks = read_ranges(fields["tasks"], LAST_TASK) if "tasks" in fields else None
        positions = None if tasks is None else tuple(task - 1 for task in tasks if task)
        if job.isdecimal():
            name = unescape(fields.get("JB_name", ""))
            yield Report(job=job, name=name, status=status, positions=positions)


def _waiting(job: str, letters: str, running: bool, behind: bool) -> tuple[str, str]:
    """Return why a job will not start before a person does something, by its letters."""
    if not re.fullmatch("[dEhrRstSTNPwqnm]+", letters):  # qstat(1), "state"
        return UNKNOWN, f"Grid Engine says {letters!r}"
    if "E" in letters:
        return HELD, f"{letters}: it is in error, qstat -j {job} says why; qmod -cj"
    # h is also shown of what waits for other jobs (seen).
    if "h" in letters and not running and not behind:
        return HELD, f"{letters}: it is held: qrls"
    return "", ""


def living(rows: Iterable[Report], jobs: Collection[str]) -> dict[str, JobStatus]:
    """Return one status for each of these jobs that is in the queue: of what runs, where any does.

    Rows of an array have each some of its positions.
    """
    statuses = dict[str, JobStatus]()
    positions: dict[str, dict[int, JobStatus]] = {job: {} for job in jobs}
    for row in (row for row in rows if row.job in positions):
        first = statuses.setdefault(row.job, row.status)
        if (row.status.running, row.status.cause) > (first.running, first.cause):
            statuses[row.job] = row.status
        positions[row.job].update(dict.fromkeys(row.positions or (), row.status))
    return {job: evolve(status, positions=positions[job]) for job, status in statuses.items()}


def error_reasons(text: str) -> dict[str, str]:
    """Return for each job the first reason of its error, from ``qstat -j``."""
    reasons: dict[str, str] = {}
    job = ""
    for name, value in re.findall(r"^(job_number|error reason +\d+):\s+(.*)$", text, re.MULTILINE):
        if name == "job_number":
            job = value
        else:  # 11/23/2026 04:50:56 [1001:30705]: error: can't chdir to …
            reasons.setdefault(job, re.sub(r"^.*?\]:\s*(error:\s*)?", "", value))
    return reasons


def ended(text: str, user: str) -> dict[str, tuple[JobStatus, float]]:
    """Read ``qacct -j``: for each job its status, and when the last of its tasks has ended.

    Of several jobs of one number the one submitted last counts, of several starts the last.
    """
    records: dict[str, tuple[float, dict[str, JobStatus]]] = {}
    for entry in _RULE.split(text)[1:]:
        parts = (line.partition(" ") for line in entry.split("\n"))
        fields = {name: value.strip() for name, _, value in parts}
        job, failed = fields.get("jobnumber", ""), fields.get("failed", "").split(":")[0].strip()
        if not job.isdecimal() or fields.get("owner") != user or failed in AGAIN:
            continue
        when = _time(fields.get("qsub_time", "")) or 0.0
        if job not in records or when > records[job][0]:
            records[job] = when, {}
        if when == records[job][0]:
            records[job][1][fields.get("taskid", "")] = status(fields)
    return {job: _whole(by_task) for job, (_, by_task) in records.items()}


def _whole(by_task: Mapping[str, JobStatus]) -> tuple[JobStatus, float]:
    """Return the status of a job by those of its tasks ("undefined": it has none), and its end."""
    statuses = [*by_task.values()]
    first = next((status for status in statuses if status.cause), statuses[0])
    positions = {int(task) - 1: status for task, status in by_task.items() if task.isdecimal()}
    return evolve(first, positions=positions), max(status.ended or 0.0 for status in statuses)


def named(text: str, names: Collection[str]) -> dict[str, str]:
    """Return the job of each of these names in ``qacct -j``; the last one counts."""
    pairs = re.findall(r"^jobname +(\S+)\s*\njobnumber +(\d+)\s*$", text, re.MULTILINE)
    return {name: job for name, job in pairs if name in names}


def status(record: Mapping[str, str]) -> JobStatus:
    """Return how a job or a task ended. A code that is not known is never a success."""
    failed, _, text = (part.strip() for part in record.get("failed", "").partition(":"))
    number = re.match(r"\d+", record.get("exit_status", ""))
    code = int(number[0]) if number else None
    # What a signal ended has failed 100; a script that says "exit 137" has failed 0 (seen).
    signal = signal_of(code) if failed not in ("0", "") else None
    if record.get("deleted_by", "NONE") not in ("NONE", ""):  # Univa's and Altair's tell it
        cause, reason = CANCELLED, f"deleted by {record['deleted_by']}"
    elif failed == "0" and code is not None:
        cause, reason = (ERROR, f"exit code {code}") if code else ("", "")
    else:
        cause, reason = _limit(record, failed, text, signal) or _failure(failed, text, signal)
    host = record.get("hostname", "")
    return JobStatus(
        state=ENDED, cause=cause, reason=reason, exit_code=None if signal else code, signal=signal,
        nodes=(host,) if host else (), started=_time(record.get("start_time", "")),
        ended=_time(record.get("end_time", "")),
        suspected="",  # the record of what qdel has ended is that of any SIGKILL (seen)
        raw=f"failed {record.get('failed', '')}, exit_status {record.get('exit_status', '')}",
    )  # fmt: skip


def _limit(
    record: Mapping[str, str], failed: str, text: str, signal: int | None
) -> tuple[str, str] | None:
    """Return the limit that a job has met, by what it asked for and what it used; None for none.

    accounting(5): 37 is said of time and memory alike. SIGUSR1 is what s_rt sends (queue_conf(5)).
    """
    if failed != "37" and signal not in (9, 10):
        return None
    limits = dict(_LIMITS.findall(record.get("category", "")))
    time = limits.get("s_rt" if signal == 10 else "h_rt")
    if time and _amount(record.get("ru_wallclock", "")) >= _amount(time):
        return TIMEOUT, f"it met its time limit of {time} s"
    most = limits.get("h_vmem") or limits.get("h_rss")
    if most and _amount(record.get("maxvmem", "")) >= 0.95 * _amount(most):
        return OOM, f"it met its memory limit of {most}"
    return (TIMEOUT, f"Grid Engine says: {text}") if failed == "37" else None


def _failure(failed: str, text: str, signal: int | None) -> tuple[str, str]:
    """Return cause and reason of what has failed, by accounting(5)'s codes."""
    if signal == 9:  # the record of a job that qdel has ended is the same (seen)
        return ERROR, "killed (signal 9): by qdel or for its memory, Grid Engine does not tell"
    if signal:
        return ERROR, f"killed by signal {signal}"
    if not failed.isdecimal():
        return UNKNOWN, f"Grid Engine says {': '.join(filter(None, (failed, text)))!r}"
    cause = NODE_FAIL if failed in NODE_CODES else ERROR
    return cause, f"Grid Engine says: {text or f'failed {failed}'}"


def _amount(text: str) -> float:
    """Return a number of qacct: ``4s``, ``200M``, ``1.500GB``; 0 for none."""
    match = re.match(r"(\d+(?:\.\d+)?)(\w?)", text)
    return float(match[1]) * _UNITS.get(match[2].upper(), 1) if match else 0.0


def cell_settings(text: str) -> tuple[int | None, float | None]:
    """Return the most tasks of an array, and the lag of accounting, from ``qconf -sconf``.

    sge_conf(5): max_aj_tasks, and reporting_params, flush_time.
    """
    size = re.search(r"^max_aj_tasks\s+([1-9]\d*)\s*$", text, re.MULTILINE)
    times = dict(re.findall(r"\b((?:accounting_)?flush_time)=(\d+:\d+:\d+)", text))
    flush = times.get("accounting_flush_time") or times.get("flush_time")
    lag = None
    if flush:
        hours, minutes, seconds = map(int, flush.split(":"))
        lag = 3600.0 * hours + 60 * minutes + seconds
    return int(size[1]) if size else None, lag


@lru_cache(maxsize=4096)  # many tasks of an array have the same
def _time(text: str) -> float | None:
    # 2026-11-23T04:51:43, Mon Nov 23 04:53:24 2026, and Univa's 11/23/2026 04:53:24.123
    if parts := _SHORT.fullmatch(text):
        return iso_time(f"{parts[3]}-{parts[1]}-{parts[2]}T{parts[4]}")
    return c_time(text) or iso_time(text)
