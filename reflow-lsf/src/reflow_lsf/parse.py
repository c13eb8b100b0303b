"""What LSF's commands print, read into neutral words; pure.

IBM Spectrum LSF 10.1 command reference, "bjobs" (STAT) and "bhist"; administration guide,
"Termination reasons". Nothing here raises for what it cannot read: lines that are no answer
are passed over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache
from typing import Any

from attrs import evolve, frozen

from reflow.executors.base import ENDED, LIVE, JobStatus
from reflow.executors.parsing import array_status, ended_badly, only_id, size_in
from reflow.states import CANCELLED, ERROR, HELD, NODE_FAIL, OOM, PREEMPTED, TIMEOUT, UNKNOWN

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
"""Causes of those that are not plain errors."""
NEVER = re.compile(
    r"invalid or never satisfied|inactivated by the administrator|no such user account|"
    r"Unable to determine user account|no permission to run the job|"
    r"Unable to open job's I/O|home/working directories"
)
"""Reasons with which a pending job will not start before a person does something."""

LIMIT = re.compile(
    r"Pending (?:job|slot) threshold|reached its job limit|No job Id can be used now|"
    r"violates the job group limit|Batch daemon cannot fork|Cannot allocate memory"
)
"""What bsub says where the job could be taken later."""

FORBIDDEN = re.compile(r"[Rr]equest from (?:a )?non-LSF host")
"""What bsub says on a host that LSF does not count among its own."""

UNREACHABLE = re.compile(
    r"still trying|not responding|is down|Failed in an LSF library call|daemon internal error|"
    r"Batch library internal error|Communication timeout|Timeout on connect|Connection refused|"
    r"Server is not connected|Unable to contact|Batch service not registered|System call failed|"
    r"Batch protocol error|XDR encode/decode error|Fail to bind|[Cc]ommunication time ?out"
)
NOTHING = re.compile(
    r"is not found|No (?:un)?(?:finished |matching |pending |running )?job found|No \S+ job found"
)
"""What bjobs says of jobs that it does not know, and bhist."""

FIELDS = "jobid jobindex user stat exec_host exit_code exit_reason pend_reason name"
"""What bjobs -o is asked for."""

_ID = re.compile(r"^\s*Job <([0-9]+)> is submitted", re.MULTILINE)
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
_EXIT = re.compile(
    r"Exited(?: with exit code ([0-9]{1,9}))?(?: by signal ([0-9]{1,9}))?|Completed <exit>"
)
_TERM = re.compile(r"TERM_[A-Z_]+")
_LOST = re.compile(r"^([0-9]+)(?:\[[^\]]*\])?: No matching job found", re.MULTILINE)


@frozen(kw_only=True)
class Seen:
    """What is said of a job, or of the element `index` of an array (0: it is none)."""

    job: str
    index: int
    user: str
    status: JobStatus
    name: str = ""


def job_id(text: str) -> str:
    """Return the id that bsub printed in ``Job <101> is submitted to queue <normal>.``

    Raises `ValueError` for anything else.
    """
    return only_id("bsub", text, _ID.findall(text))


def unknown_dependency(text: str) -> str:
    """Return the id for which bsub refused a job because it does not know it; "" for none."""
    found = _LOST.search(text)
    return found[1] if found else ""


def array_size(text: str) -> int | None:
    """Return the elements that an array may have, from ``bparams -l``."""
    return size_in(r"\bMAX_JOB_ARRAY_SIZE\s*=\s*([0-9]+)", text)


def limits_unit(text: str) -> str:
    """Return the unit of memory limits that lsf.conf sets; "" for none."""
    found = re.search(r"^\s*LSF_UNIT_FOR_LIMITS\s*=\s*\"?([KMGT])B?\b", text, re.MULTILINE)
    return f"{found[1]}B" if found else ""


def table(text: str) -> list[Seen]:
    """Read ``bjobs -w -noheader``, with the reasons of ``-p`` below the rows of pending jobs."""
    found: list[Seen] = []
    for line in text.splitlines():
        row = _ROW.fullmatch(line)
        if row is not None:
            job, index, user, word, host, name = row.groups()
            found.append(_seen(job, index or "", user, name, status(word, host=host)))
        elif NEVER.search(line) and found and found[-1].status.raw == "PEND":
            found[-1] = evolve(found[-1], status=status("PEND", reason=line.strip()))
    return found


def records(text: str) -> list[Seen]:
    """Read ``bjobs -o FIELDS -json``; records of jobs that are not known have only an ERROR."""
    try:
        rows = json.loads(text[text.find("{") :])["RECORDS"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return []
    return [one for row in rows if (one := _record(row))] if isinstance(rows, list) else []


def _record(row: Any) -> Seen | None:
    if not isinstance(row, dict):
        return None
    given = {key: value.strip() for key, value in row.items() if isinstance(value, str)}
    match = re.fullmatch(r"([0-9]{1,18})(?:\[([0-9]{1,18})\])?", given.get("JOBID", ""))
    word = given.get("STAT", "")
    if match is None or not word:
        return None
    code = given.get("EXIT_CODE", "")
    told = status(
        word,
        host=given.get("EXEC_HOST", ""),
        code=int(code) if re.fullmatch("[0-9]{1,9}", code) else None,
        reason=given.get("EXIT_REASON" if word == "EXIT" else "PEND_REASON", ""),
    )
    index = given.get("JOBINDEX", "") or match[2] or ""
    return _seen(match[1], index, given.get("USER", ""), given.get("JOB_NAME", ""), told)


def _seen(job: str, index: str, user: str, name: str, told: JobStatus) -> Seen:
    """Return what is said of a job; the name of an element ends with its index."""
    element = _ELEMENT.fullmatch(name)
    if element is not None:
        name, index = element[1], index or element[2]
    place = int(index) if re.fullmatch("[0-9]{1,18}", index) else 0
    return Seen(job=job, index=place, user=user, status=told, name=name)


def history(text: str) -> Iterator[Seen]:
    """Read of ``bjobs -l`` or ``bhist -l`` how jobs have ended; what lives is passed over."""
    # Long lines go on in the next, behind 21 blanks.
    parts = _HEAD.split(re.sub(r"\n {21}", "", text))[1:]
    for job, index, user, told in zip(*(parts[at::4] for at in range(4)), strict=True):
        word, code, signal, reason, host = "", None, None, "", ""
        for said in _EVENT.findall(told):
            if re.match(r"(?:\[[0-9]+\] started|Started|Dispatched)", said):
                host = said.partition("<")[2].partition(">")[0]
            elif said.startswith("Done successfully"):
                word = "DONE"
            elif said.startswith("Signal <KILL> requested"):
                reason = "TERM_OWNER: killed by a person"
            elif (match := _EXIT.match(said)) is not None:
                word = "EXIT"
                code = int(match[1]) if match[1] else code
                signal = int(match[2]) if match[2] else signal
            if _TERM.search(said):
                reason = said[said.find("TERM_") :].rstrip(".")
        if word:
            end = status(word, host=host, code=code, signal=signal, reason=reason)
            yield Seen(job=job, index=int(index or 0), user=user, status=end)


@lru_cache(maxsize=4096)
def status(
    word: str, *, host: str = "", code: int | None = None, signal: int | None = None,
    reason: str = "",
) -> JobStatus:  # fmt: skip
    """Return what a state means. One that is not known is UNKNOWN, and never a success."""
    started = host.strip(" -") != ""
    cause, told = UNKNOWN, f"LSF says {word!r}"
    if word in LIVE_STATES:
        cause, told = STUCK.get(word, ("", ""))
        if word == "PEND" and NEVER.search(reason):
            cause, told = HELD, reason
    elif word == "DONE":
        # A shell that was killed is DONE, too: whether there is a result, the record says.
        cause, told, code = "", "", 0
    elif word == "EXIT":
        if signal is None and code is not None and 128 < code < 193:
            signal = code - 128
        cause, told = _exit(code, signal, reason, started)
    hosts = dict.fromkeys(re.sub(r"[0-9]+\*", "", host).split(":")) if started else ()
    return JobStatus(
        state=ENDED if word in ("DONE", "EXIT") else LIVE, running=LIVE_STATES.get(word, False),
        cause=cause, exit_code=code, signal=signal, nodes=tuple(hosts), reason=told, raw=word,
    )  # fmt: skip


def _exit(code: int | None, signal: int | None, reason: str, started: bool) -> tuple[str, str]:
    """Return cause and reason of what has ended badly."""
    term = _TERM.search(reason)
    if term is not None:
        return TERMINATIONS.get(term[0], ERROR), reason
    if signal == 12:
        return TIMEOUT, "killed by SIGUSR2, which LSF sends at the run limit"
    if signal == 2:
        return CANCELLED, "killed by SIGINT, which bkill sends first"
    if signal or code is not None:
        return ERROR, ended_badly(code, signal)
    return (ERROR, "LSF says EXIT") if started else (CANCELLED, "it was killed before it started")


def merge(seen: Iterable[Seen], user: str | None = None) -> dict[str, JobStatus]:
    """Return one status for each job; of an array, what is said of its positions, from 0.

    What is said later counts. An array lives while any element of it lives. Jobs of others
    than `user` are passed over: ids begin again some day.
    """
    jobs: dict[str, dict[int, JobStatus]] = {}
    for one in seen:
        if user is None or one.user == user:
            jobs.setdefault(one.job, {})[one.index] = one.status
    return {
        job: elements.get(0) or array_status({index - 1: one for index, one in elements.items()})
        for job, elements in jobs.items()
    }


def named(seen: Iterable[Seen], names: Collection[str]) -> dict[str, str]:
    """Return the job id of each of these names; the last one counts."""
    return {one.name: one.job for one in seen if one.name in names}
