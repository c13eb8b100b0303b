"""What LSF's commands print, read into neutral words; pure.

Pages are of the IBM Spectrum LSF 10.1 command reference; what is called seen,
tests/schedulers/test_lsf_facts.py holds against OpenLava. Nothing here raises for what it cannot
read: lines that are no answer are left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

from attrs import evolve

from reflow.executors import parsing
from reflow.executors.base import ENDED, LIVE, JobStatus
from reflow.executors.parsing import Report, ended_badly, signal_of, size_in
from reflow.states import CANCELLED, ERROR, HELD, NODE_FAIL, OOM, PREEMPTED, TIMEOUT, UNKNOWN

# "bjobs", STAT
LIVE_STATES = {
    # state: whether it has started
    "PEND": False, "PSUSP": False, "WAIT": False, "PROV": False, "RUN": True, "USUSP": True,
    "SSUSP": True, "UNKWN": True, "ZOMBI": True,
}  # fmt: skip
STUCK = {
    "PSUSP": (HELD, "it is held: bresume"),
    "USUSP": (HELD, "it is suspended by a person: bresume"),
    "UNKWN": (UNKNOWN, "its host does not answer"),
    "ZOMBI": (UNKNOWN, "its host does not answer, and it is to be killed there: bkill -r"),
}
TERMINATIONS = {
    "TERM_ADMIN": CANCELLED, "TERM_BUCKET_KILL": CANCELLED, "TERM_FORCE_ADMIN": CANCELLED,
    "TERM_FORCE_OWNER": CANCELLED, "TERM_OWNER": CANCELLED, "TERM_REMOVE_HUNG_JOB": CANCELLED,
    "TERM_REQUEUE_ADMIN": CANCELLED, "TERM_REQUEUE_OWNER": CANCELLED,
    "TERM_CPULIMIT": TIMEOUT, "TERM_DEADLINE": TIMEOUT, "TERM_RUNLIMIT": TIMEOUT,
    "TERM_MEMLIMIT": OOM, "TERM_SWAP": OOM, "TERM_LOAD": PREEMPTED, "TERM_PREEMPT": PREEMPTED,
    "TERM_WINDOW": PREEMPTED, "TERM_RC_RECLAIM": PREEMPTED, "TERM_ZOMBIE": NODE_FAIL,
}  # fmt: skip
"""Causes of those that are not plain errors (administration guide, "Termination reasons")."""
SIGNALS: dict[int | None, tuple[str, str]] = {
    12: (TIMEOUT, "killed by SIGUSR2, which LSF sends at the run limit"),
    2: (CANCELLED, "killed by SIGINT, which bkill sends first"),
}
"""What LSF's own signals mean, where no termination reason is told ("bsub", -W; "bkill"; seen)."""
NEVER = re.compile(
    r"invalid or never satisfied|inactivated by the administrator|no such user account|"
    r"Unable to determine user account|no permission to run the job|"
    r"Unable to open job's I/O|home/working directories"
)
"""Reasons with which a pending job will not start before a person does something (seen; "bjobs",
PEND_REASON)."""
LIMIT = re.compile(
    r"Pending (?:job|slot) threshold|reached its job limit|No job Id can be used now|"
    r"violates the job group limit|Batch daemon cannot fork|Cannot allocate memory"
)
"""What bsub says where the job could be taken later ("bsub"; lsb.params, MAX_PEND_JOBS; seen)."""
FORBIDDEN = re.compile(r"[Rr]equest from (?:a )?non-LSF host")
"""What bsub says on a host that LSF does not count among its own (lsbatch's error messages)."""
UNREACHABLE = re.compile(
    r"still trying|not responding|is down|Failed in an LSF library call|daemon internal error|"
    r"Batch library internal error|Communication timeout|Timeout on connect|Connection refused|"
    r"Server is not connected|Unable to contact|Batch service not registered|System call failed|"
    r"Batch protocol error|XDR encode/decode error|Fail to bind|[Cc]ommunication time ?out"
)
"""What commands say where a daemon does not answer (seen; lsf's and lsbatch's error messages)."""
NOTHING = re.compile(
    r"is not found|No (?:un)?(?:finished |matching |pending |running )?job found|No \S+ job found"
)
"""What bjobs says of jobs that it does not know, and bhist (seen)."""
HARMLESS = re.compile(
    r"already finished|No matching job found|Operation is in progress|permission denied"
)
"""What bkill says of jobs that are gone, or that are another's by now (seen)."""
NO_SUCH_OPTION = re.compile(r"[Ii]llegal option|invalid option|[Uu]sage")
"""What a bjobs says that does not take ``-json``, as before fix pack 2 of 10.1 (seen)."""

JOB_ID = re.compile(r"^\s*Job <([0-9]+)> is submitted", re.MULTILINE)
"""What bsub prints: ``Job <101> is submitted to queue <normal>.`` ("bsub", Output; seen)."""
FIELDS = "jobid jobindex user stat exec_host exit_code exit_reason pend_reason name"
"""What bjobs -o is asked for."""

_ROW = re.compile(
    # JOBID USER STAT QUEUE FROM_HOST EXEC_HOST JOB_NAME SUBMIT_TIME
    r"([0-9]{1,18})(?:\[([0-9]{1,18})\])?\s+(\S+)\s+([A-Z]+)\s+\S+\s+\S+\s+(\S+)\s+(.*\S)"
    r"\s+[A-Z][a-z][a-z] +[0-9]+ [0-9:]+(?: [0-9]{4})?\s*"
)
_ELEMENT = re.compile(r"(.*)\[([0-9]{1,18})\]")
_HEAD = re.compile(
    r"^Job(?: Id)? <([0-9]{1,18})(?:\[([0-9]{1,18})\])?>,.*?User <([^>]*)>", re.MULTILINE
)
_EVENT = re.compile(
    r"^[A-Z][a-z]{2} [A-Z][a-z]{2} +[0-9]+ [0-9:]+(?: [0-9]{4})?: (.*)", re.MULTILINE
)
_STARTED = re.compile(r"\[[0-9]+\] started|Started|Dispatched")
_EXIT = re.compile(
    r"Exited(?: with exit code ([0-9]{1,9}))?(?: by signal ([0-9]{1,9}))?|Completed <exit>"
)
_TERM = re.compile(r"TERM_[A-Z_]+")
_LOST = re.compile(r"^([0-9]+)(?:\[[^\]]*\])?: No matching job found", re.MULTILINE)


def unknown_dependency(text: str) -> str:
    """Return the id for which bsub refused a job because it does not know it; "" for none."""
    match = _LOST.search(text)
    return match[1] if match else ""


def array_size(text: str) -> int | None:
    """Return the elements that an array may have, from ``bparams -l``."""
    return size_in(r"\bMAX_JOB_ARRAY_SIZE\s*=\s*([0-9]+)", text)


def limits_unit(text: str) -> str:
    """Return the unit of memory limits that lsf.conf sets; "" for none."""
    match = re.search(r"^\s*LSF_UNIT_FOR_LIMITS\s*=\s*\"?([KMGT])B?\b", text, re.MULTILINE)
    return f"{match[1]}B" if match else ""


def table(text: str) -> list[Report]:
    """Read ``bjobs -w -noheader``, with the reasons of ``-p`` below the rows of pending jobs."""
    reports: list[Report] = []
    for line in text.splitlines():
        row = _ROW.fullmatch(line)
        if row is not None:
            job, index, user, word, host, name = row.groups()
            reports.append(_report(job, index or "", user, name, status(word, host=host)))
        elif NEVER.search(line) and reports and reports[-1].status.raw == "PEND":
            reports[-1] = evolve(reports[-1], status=status("PEND", reason=line.strip()))
    return reports


def records(text: str) -> list[Report]:
    """Read ``bjobs -o FIELDS -json``; records of jobs that are not known have only an ERROR."""
    try:
        rows = json.loads(text[text.find("{") :])["RECORDS"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return []
    return [report for row in rows if (report := _record(row))] if isinstance(rows, list) else []


def _record(row: Any) -> Report | None:
    if not isinstance(row, dict):
        return None
    cells = {key: value.strip() for key, value in row.items() if isinstance(value, str)}
    match = re.fullmatch(r"([0-9]{1,18})(?:\[([0-9]{1,18})\])?", cells.get("JOBID", ""))
    word = cells.get("STAT", "")
    if match is None or not word:
        return None
    code = cells.get("EXIT_CODE", "")
    state = status(
        word,
        host=cells.get("EXEC_HOST", ""),
        code=int(code) if re.fullmatch("[0-9]{1,9}", code) else None,
        reason=cells.get("EXIT_REASON" if word == "EXIT" else "PEND_REASON", ""),
    )
    index = cells.get("JOBINDEX", "") or match[2] or ""
    return _report(match[1], index, cells.get("USER", ""), cells.get("JOB_NAME", ""), state)


def _report(job: str, index: str, user: str, name: str, state: JobStatus) -> Report:
    """Return what is said of a job; the name of an element ends with its index, from 1 on."""
    element = _ELEMENT.fullmatch(name)
    if element is not None:
        name, index = element[1], index or element[2]
    number = int(index) if re.fullmatch("[0-9]{1,18}", index) else 0  # 0: it is no element
    positions = (number - 1,) if number else None
    return Report(job=job, positions=positions, user=user, name=name, status=state)


def history(text: str) -> Iterator[Report]:
    """Read of ``bjobs -l`` or ``bhist -l`` how jobs have ended; what lives is left out."""
    # Long lines go on in the next, behind 21 blanks (seen).
    parts = _HEAD.split(re.sub(r"\n {21}", "", text))[1:]
    for job, index, user, events in zip(*(parts[at::4] for at in range(4)), strict=True):
        end = _end(_EVENT.findall(events))
        if end is not None:
            yield _report(job, index or "", user, "", end)


def _end(events: Iterable[str]) -> JobStatus | None:
    """Return how a job has ended, by what is told of it in order; None where it has not."""
    word, code, signal, reason, host = "", None, None, "", ""
    for event in events:
        if _STARTED.match(event):
            host = event.partition("<")[2].partition(">")[0]
        elif event.startswith("Done successfully"):
            word = "DONE"
        elif event.startswith("Signal <KILL> requested"):
            reason = "TERM_OWNER: killed by a person"
        elif (match := _EXIT.match(event)) is not None:
            word = "EXIT"
            code, signal = int(match[1] or 0) or code, int(match[2] or 0) or signal
        if _TERM.search(event):
            reason = event[event.find("TERM_") :].rstrip(".")
    return status(word, host=host, code=code, signal=signal, reason=reason) if word else None


@lru_cache(maxsize=4096)
def status(
    word: str, *, host: str = "", code: int | None = None, signal: int | None = None,
    reason: str = "",
) -> JobStatus:  # fmt: skip
    """Return what a state means. One that is not known is UNKNOWN, and never a success."""
    started = host.strip(" -") != ""
    if word in LIVE_STATES:
        stuck = word == "PEND" and NEVER.search(reason)
        cause, text = (HELD, reason) if stuck else STUCK.get(word, ("", ""))
    elif word == "DONE":
        # A shell that was killed is DONE, too (seen): whether there is a result, the record says.
        cause, text, code = "", "", 0
    elif word == "EXIT":
        signal = signal_of(code) if signal is None else signal
        cause, text = _exit(code, signal, reason, started)
    else:
        cause, text = UNKNOWN, f"LSF says {word!r}"
    hosts = dict.fromkeys(re.sub(r"[0-9]+\*", "", host).split(":")) if started else ()
    return JobStatus(
        state=ENDED if word in ("DONE", "EXIT") else LIVE, running=LIVE_STATES.get(word, False),
        cause=cause, exit_code=code, signal=signal, nodes=tuple(hosts), reason=text, raw=word,
    )  # fmt: skip


def _exit(code: int | None, signal: int | None, reason: str, started: bool) -> tuple[str, str]:
    """Return cause and reason of what has ended badly."""
    term = _TERM.search(reason)
    if term is not None:
        return TERMINATIONS.get(term[0], ERROR), reason
    if signal in SIGNALS:
        return SIGNALS[signal]
    if signal or code is not None:
        return ERROR, ended_badly(code, signal)
    return (ERROR, "LSF says EXIT") if started else (CANCELLED, "it was killed before it started")


def merge(reports: Iterable[Report], user: str | None = None) -> dict[str, JobStatus]:
    """Return one status for each job; of an array, what is said of its positions, from 0.

    Jobs of others than `user` are left out: ids begin again some day (lsb.params, MAX_JOBID).
    """
    return parsing.merge(report for report in reports if user in (None, report.user))
