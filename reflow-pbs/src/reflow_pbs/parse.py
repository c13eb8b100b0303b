"""What PBS's commands print, read into neutral words; pure.

Manual pages: qstat(1B), pbs_job_attributes(7B) of OpenPBS 23.06; exit codes below zero: "Job Exit
Status Codes" in the Administrator's Guide. Nothing here raises for what it cannot read.
"""

from __future__ import annotations

import re
import time
from functools import lru_cache

from attrs import evolve, frozen

from reflow.executors.answers import ended_badly, only_id
from reflow.executors.base import ENDED, LIVE, JobStatus
from reflow.states import CANCELLED, ERROR, HELD, LOST, NODE_FAIL, OOM, TIMEOUT, UNKNOWN

WAITING, RUNNING, OVER = "QHWTM", "REBSU", "FX"
"""The letters of job_state. B: an array that has begun; E: ending; S, U: suspended; M: moved to
another server; X: an element that has ended, of an array that lives."""
BEHIND, DELETED, FAILED = "22", "91", "93"  # substates
CODES = {
    **dict.fromkeys((-4, -5, -6), (NODE_FAIL, "its node was started anew")),
    -20: (NODE_FAIL, "its node failed"),
    -24: (ERROR, "it used more processors than it asked for"),
    -25: (ERROR, "it used more processors than it asked for"),
    -26: (OOM, "it used more virtual memory than it asked for"),
    -27: (OOM, "it used more memory than it asked for"),
    -28: (TIMEOUT, "it used more processor time than it asked for"),
    -29: (TIMEOUT, "it ran into its time limit"),
}
"""What PBS itself ended a job for; other codes below zero: it could not be started."""
HOLDS = {
    "u": "it is held by its user: qrls",
    "o": "it is held by an operator",
    "s": "it is held by PBS or an administrator",
    "p": "it is held for its user's bad password",
}

LIMIT = re.compile(r"would exceed .*limit|Maximum number of jobs")
"""What qsub says where the job could be taken later."""
FORBIDDEN = re.compile(r"Access from host not allowed")
"""What it says on a host that acl_hosts of the server or queue leaves out."""
UNREACHABLE = re.compile(
    r"cannot connect to server|Couldn't connect to cluster|Connection (?:refused|timed out|reset)|"
    r"Unknown Host\.|errno=15\d{3}|End of File|Premature end of message|Communication failure|"
    r"No route to host|Server shutting down|Invalid credential", re.IGNORECASE
)  # fmt: skip
GONE = re.compile(r"Unknown Job Id|Job has finished", re.IGNORECASE)
HARMLESS = re.compile(rf"{GONE.pattern}|Unauthorized Request|Invalid state|invalid for state", re.I)
"""What is said of jobs that are gone, are ending, or are another's by now."""
NO_HISTORY = "not configured to maintain job history"

_ID = re.compile(r"([0-9]+)(\[([0-9]*)\])?(\.[A-Za-z0-9_.-]+)?")


@frozen(kw_only=True)
class Seen:
    """What is said of one job: its status, and the jobs that it waits for."""

    status: JobStatus
    behind: tuple[str, ...] = ()


def job_id(text: str) -> str:
    """Return the full id that `qsub` printed, ``1.pbshost`` or ``26[].pbshost``.

    Raises `ValueError` for anything else.
    """
    found = (one for one in listed(text) if "." in one and not re.search(r"\[\d", one))
    return only_id("qsub", text, found)


def listed(text: str) -> list[str]:
    """Return the ids that are printed one a line."""
    return [line.strip() for line in text.splitlines() if _ID.fullmatch(line.strip())]


def number(job: str) -> int:
    """Return the number of an id; -1 of what is none."""
    match = _ID.match(job)
    return int(match[1]) if match else -1


def jobs(text: str, user: str = "") -> dict[str, Seen]:
    """Read ``qstat -t -f``: jobs by full id, of arrays with their elements.

    Jobs of others than `user` are passed over: numbers begin again some day.
    """
    whole: dict[str, Seen] = {}
    places: dict[str, dict[int, JobStatus]] = {}
    # Long lines go on after a tab.
    for block in text.replace("\n\t", "").split("Job Id: ")[1:]:
        name = block.partition("\n")[0].strip()
        match = _ID.fullmatch(name)
        if match is None:
            continue
        if match[3]:
            array = f"{match[1]}[]{match[4] or ''}"
            places.setdefault(array, {})[int(match[3])] = status(block)
        elif not user or value(block, "Job_Owner").partition("@")[0] == user:
            # depend = afterany:1.host@host:2[].host@host,beforeany:3.host@host
            clauses = [one.split(":") for one in value(block, "depend").split(",")]
            behind = [one for kind, *ids in clauses if kind.startswith("after") for one in ids]
            waited = tuple(one.partition("@")[0] for one in behind)
            whole[name] = Seen(status=status(block), behind=waited)
    for array in whole.keys() & places.keys():
        told = evolve(whole[array].status, positions=places[array])
        whole[array] = evolve(whole[array], status=told)
    return whole


def named(text: str, user: str) -> dict[str, str]:
    """Return the ids of a user's jobs by their names, from ``qstat -f``; the last one counts."""
    found: dict[str, str] = {}
    for block in text.replace("\n\t", "").split("Job Id: ")[1:]:
        job, name = block.partition("\n")[0].strip(), value(block, "Job_Name")
        mine = _ID.fullmatch(job) and value(block, "Job_Owner").partition("@")[0] == user
        if mine and number(job) >= number(found.get(name, "")):
            found[name] = job
    return found


def value(block: str, name: str) -> str:
    """Return an attribute as qstat prints it, "" where it is not set."""
    start = block.find(f"\n    {name} = ")
    if start < 0:
        return ""
    start += len(name) + 8
    end = block.find("\n", start)
    return block[start : end if end >= 0 else None].strip()


_TOLD = ("job_state", "substate", "comment", "Exit_status", "stime", "obittime", "exec_host",
         "Hold_Types")  # fmt: skip


def status(block: str) -> JobStatus:
    """Return what one job's attributes mean. What is not known is UNKNOWN, never a success."""
    return _status(*(value(block, name) for name in _TOLD))


@lru_cache(maxsize=8192)  # of the elements of an array many are alike
def _status(
    state: str, substate: str, comment: str, code: str, began: str, ended: str, hosts: str,
    hold: str,
) -> JobStatus:  # fmt: skip
    raw = f"state {state}, substate {substate}, exit status {code or 'none'}: {comment}"
    known, over = len(state) == 1, state in tuple(OVER)
    if comment == "Subjob finished":  # never ran; the time is its array's, and so is the code
        began, code = "", ""
    if not over:  # an array that lives has the code of the element that ended last
        ended, code = "", ""
    number = int(code) if re.fullmatch(r"-?[0-9]{1,9}", code) else None
    signal = None if number is None else killed_by(number)
    cause, reason = UNKNOWN, f"PBS says {state!r}"
    if known and state in WAITING + RUNNING:
        reason = _held(state, substate, hold, comment)
        cause = HELD if reason else ""
    elif over:
        cause, reason = _ended(substate, number, comment, ran=bool(began))
    return JobStatus(
        state=ENDED if over else LIVE,
        running=known and state in RUNNING,
        cause=cause,
        exit_code=None if (number or 0) < 0 or (number or 0) > 255 else number,
        signal=signal,
        nodes=tuple(dict.fromkeys(re.findall(r"(?:^|\+)([^/+]+)", hosts))),
        started=_time(began),
        ended=_time(ended),
        reason=reason,
        raw=raw,
    )


def _held(state: str, substate: str, hold: str, comment: str) -> str:
    """Return why a job will not start before a person does something; "" where it may."""
    if state == "Q" and comment.startswith("Can Never Run"):
        return comment
    kinds = hold.replace("s", "") if substate == BEHIND else hold
    told = [HOLDS[kind] for kind in HOLDS if kind in kinds]
    return "; ".join(told) if state == "H" else ""


def _ended(substate: str, code: int | None, comment: str, *, ran: bool) -> tuple[str, str]:
    """Return cause and reason, as pbs_mom and the server leave them in code and substate."""
    if substate == DELETED or comment == "Subjob finished":
        return CANCELLED, comment or "it was deleted before it began"
    if code is None and (ran or substate == FAILED):
        return UNKNOWN, f"PBS says no exit status: {comment}"
    if code is None:  # nobody deleted it, and it has not run
        return LOST, "PBS took it out of the queue: what it waited for was not there any more"
    if code == 0:  # of an array it is that of the element that ended last
        return (ERROR, "some of its elements failed") if substate == FAILED else ("", "")
    if code < 0:
        return CODES.get(code, (ERROR, f"PBS could not start it (exit status {code}): {comment}"))
    return ERROR, ended_badly(code, killed_by(code))


def killed_by(code: int) -> int | None:
    """Return the signal that an exit status stands for: 256 and more; a login shell's 128."""
    for base in (256, 128):
        if base < code <= base + 64:
            return code - base
    return None


@lru_cache(maxsize=4096)
def _time(text: str) -> float | None:
    try:
        return time.mktime(time.strptime(text, "%a %b %d %H:%M:%S %Y"))
    except (ValueError, OverflowError):
        return None
