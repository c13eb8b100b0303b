"""What PBS's commands print, read into neutral words; pure.

Manual pages: qstat(1B), pbs_job_attributes(7B) of OpenPBS 23.06; exit codes below zero: "Job Exit
Status Codes" in the Administrator's Guide. Nothing here raises for what it cannot read.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from functools import lru_cache

from attrs import evolve, frozen

from reflow.executors.base import ENDED, LIVE, JobStatus
from reflow.executors.parsing import array_status, ended_badly, only_id
from reflow.states import CANCELLED, ERROR, HELD, LOST, NODE_FAIL, OOM, TIMEOUT, UNKNOWN

WAITING, RUNNING, OVER = "QHWTM", "REBSU", "FX"
"""The letters of job_state. B: an array that has begun; E: ending; S, U: suspended; M: moved to
another server; X: an element that has ended, of an array that lives."""
BEHIND, DELETED, FAILED = "22", "91", "93"  # substates
CODES = {
    **dict.fromkeys((-4, -5, -6), (NODE_FAIL, "its node was started anew")),
    -20: (NODE_FAIL, "its node failed"),
    **dict.fromkeys((-24, -25), (ERROR, "it used more processors than it asked for")),
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
FORBIDDEN = re.compile(r"Access from host not allowed|ruserok failed")
"""What it says on a host that acl_hosts of the server or queue leaves out; Torque's on one that is
not among submit_hosts."""
UNREACHABLE = re.compile(
    r"cannot connect to server|Couldn't connect to cluster|Connection (?:refused|timed out|reset)|"
    r"Unknown Host\.|errno=15\d{3}|End of File|Premature end of message|Communication failure|"
    r"No route to host|Server shutting down|Invalid credential", re.IGNORECASE
)  # fmt: skip
GONE = re.compile(r"Unknown Job Id|Job has finished|nonexistent job id", re.IGNORECASE)
HARMLESS = re.compile(rf"{GONE.pattern}|Unauthorized Request|Invalid state|invalid for state", re.I)
"""What is said of jobs that are gone, are ending, or are another's by now."""
NO_HISTORY = "not configured to maintain job history"

MOST = r"^ +max_(?:job_)?array_size = ([1-9][0-9]{0,8})$"
_LAST = re.compile(r" -t 0-([0-9]{1,6})\b")  # of an array of Torque
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

    Jobs of others than `user` are passed over: numbers begin again some day. Torque shows the
    elements of an array and not the array, and makes them one after the other: those that are
    yet to be made live, or are deleted as the last that was made.
    """
    whole: dict[str, Seen] = {}
    places: dict[str, dict[int, JobStatus]] = {}
    asked: dict[str, str] = {}
    for block, match in _blocks(text, user):
        if match[3]:
            array = f"{match[1]}[]{match[4] or ''}"
            places.setdefault(array, {})[int(match[3])] = status(block)
            asked[array] = value(block, "submit_args")
        else:
            # depend = afterany:1.host@host:2[].host@host,beforeany:3.host@host
            clauses = [one.split(":") for one in value(block, "depend").split(",")]
            behind = [one for kind, *ids in clauses if kind.startswith("after") for one in ids]
            waited = tuple(one.partition("@")[0] for one in behind)
            whole[match[0]] = Seen(status=status(block), behind=waited)
    for array, told in places.items():
        last, latest = _LAST.search(asked[array]), told[max(told)]
        rest = range(max(told) + 1, int(last[1]) + 1 if last else 0)
        unmade = latest if latest.cause == CANCELLED else JobStatus(state=LIVE)
        of_them = array_status({**told, **dict.fromkeys(rest, unmade)})
        seen = whole.get(array, Seen(status=of_them))
        whole[array] = evolve(seen, status=evolve(seen.status, positions=of_them.positions))
    return whole


def named(text: str, user: str) -> dict[str, str]:
    """Return the ids of a user's jobs by their names, from ``qstat -f``; the last one counts."""
    found: dict[str, str] = {}
    for block, match in _blocks(text, user):
        name = value(block, "Job_Name")
        if number(match[0]) >= number(found.get(name, "")):
            found[name] = match[0]
    return found


def _blocks(text: str, user: str) -> Iterator[tuple[str, re.Match[str]]]:
    """Yield what is said of each job of a user, "" for all, and the job's id."""
    # Long lines go on after a tab.
    for block in text.replace("\n\t", "").split("Job Id: ")[1:]:
        match = _ID.fullmatch(block.partition("\n")[0].strip())
        if match and (not user or value(block, "Job_Owner").partition("@")[0] == user):
            yield block, match


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
def _status(*told: str) -> JobStatus:
    state, substate, comment, code, began, ended, hosts, hold = told
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
        state=ENDED if over else LIVE, running=known and state in RUNNING,
        cause=cause, reason=reason, raw=raw, started=_time(began), ended=_time(ended),
        exit_code=None if (number or 0) < 0 or (number or 0) > 255 else number, signal=signal,
        nodes=tuple(dict.fromkeys(re.findall(r"(?:^|\+)([^/+]+)", hosts))),
    )  # fmt: skip


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
    return next((code - base for base in (256, 128) if base < code <= base + 64), None)


@lru_cache(maxsize=4096)
def _time(text: str) -> float | None:
    try:
        return time.mktime(time.strptime(text, "%a %b %d %H:%M:%S %Y"))
    except (ValueError, OverflowError):
        return None
