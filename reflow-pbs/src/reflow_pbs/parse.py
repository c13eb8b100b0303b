"""What PBS's commands print, read into neutral words; pure.

Manual pages are those of OpenPBS 23.06; what is called seen, tests/schedulers/test_pbs_facts.py
holds against a real one. Nothing here raises for what it cannot read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from attrs import evolve, frozen

from reflow.executors.base import ENDED, LIVE, JobStatus
from reflow.executors.parsing import array_status, c_time, ended_badly, signal_of
from reflow.states import CANCELLED, ERROR, HELD, LOST, NODE_FAIL, OOM, TIMEOUT, UNKNOWN

WAITING, RUNNING, OVER = "QHWTM", "REBSU", "FX"
"""The letters of job_state (qstat(1B)). B: an array that has begun; E: ending; S, U: suspended;
M: moved to another server; X: an element that has ended, of an array that lives."""
BEHIND, DELETED, FAILED = "22", "91", "93"
"""Values of substate: waits for other jobs; was deleted; has failed (seen; PBS's job.h)."""
CODES = {
    **dict.fromkeys((-4, -5, -6), (NODE_FAIL, "its node was started anew")),
    -20: (NODE_FAIL, "its node failed"),
    **dict.fromkeys((-24, -25), (ERROR, "it used more processors than it asked for")),
    -26: (OOM, "it used more virtual memory than it asked for"),
    -27: (OOM, "it used more memory than it asked for"),
    -28: (TIMEOUT, "it used more processor time than it asked for"),
    -29: (TIMEOUT, "it ran into its time limit"),
}
"""What PBS itself ended a job for; other codes below zero: it could not be started (Administrator's
Guide, "Job Exit Status Codes")."""
HOLDS = {
    "u": "it is held by its user: qrls",
    "o": "it is held by an operator",
    "s": "it is held by PBS or an administrator",
    "p": "it is held for its user's bad password",
}
"""pbs_job_attributes(7B), Hold_Types."""
SIGNALS = (256, 128)
"""What pbs_mom adds to a signal (same page), and the login shell that runs a script."""
NEVER = "Can Never Run"
"""How the comment of a job begins that asks for more than there is (seen)."""
UNBORN = "Subjob finished"
"""The comment of an element that was deleted before it began (seen)."""

LIMIT = re.compile(r"would exceed .*limit|Maximum number of jobs")
"""What qsub says where the job could be taken later (seen; Administrator's Guide, "Limits")."""
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
"""What is said of jobs that are gone, are ending, or are another's by now (seen; pbs_error.h)."""
NO_HISTORY = "not configured to maintain job history"
"""What ``-x`` prints where the server keeps none, and then nothing of any other job (seen)."""
HISTORY = "job_history_enable = True"
"""What ``qstat -B -f`` prints where it keeps some (pbs_server_attributes(7B))."""
VERSION = "pbs_version"
"""What ``qstat --version`` of PBS prints, and nobody else's (seen)."""
MOST = r"^ +max_(?:job_)?array_size = ([1-9][0-9]{0,8})$"
"""pbs_server_attributes(7B), max_array_size; max_job_array_size of Torque."""
JOB_ID = re.compile(r"^\s*([0-9]+(?:\[\])?\.[A-Za-z0-9_.-]+)\s*$", re.MULTILINE)
"""The full id that qsub prints, ``1.pbshost`` or ``26[].pbshost`` (qsub(1B), "Job Identifier")."""

_LAST = re.compile(r" -t 0-([0-9]{1,6})\b")  # of an array of Torque
_ID = re.compile(r"([0-9]+)(\[([0-9]*)\])?(\.[A-Za-z0-9_.-]+)?")


@frozen(kw_only=True)
class Listed:
    """What is said of one job: its status, and the jobs that it waits for."""

    status: JobStatus
    behind: tuple[str, ...] = ()


def listed(text: str) -> list[str]:
    """Return the ids that are printed one a line."""
    return [line.strip() for line in text.splitlines() if _ID.fullmatch(line.strip())]


def number(job: str) -> int:
    """Return the number of an id; -1 of what is none."""
    match = _ID.match(job)
    return int(match[1]) if match else -1


def jobs(text: str, user: str = "") -> dict[str, Listed]:
    """Read ``qstat -t -f``: jobs by full id, of arrays with their elements.

    Jobs of others than `user` are left out: numbers begin again some day. Torque shows the
    elements of an array and not the array, and makes them one after the other: those that are
    yet to be made live, or are deleted as the last that was made.
    """
    whole: dict[str, Listed] = {}
    elements: dict[str, dict[int, JobStatus]] = {}
    submitted: dict[str, str] = {}
    for block, match in _blocks(text, user):
        if match[3]:
            array = f"{match[1]}[]{match[4] or ''}"
            elements.setdefault(array, {})[int(match[3])] = status(block)
            submitted[array] = value(block, "submit_args")
        else:
            # depend = afterany:1.host@host:2[].host@host,beforeany:3.host@host
            clauses = [clause.split(":") for clause in value(block, "depend").split(",")]
            behind = [job for kind, *ids in clauses if kind.startswith("after") for job in ids]
            waits = tuple(job.partition("@")[0] for job in behind)
            whole[match[0]] = Listed(status=status(block), behind=waits)
    for array, made in elements.items():
        last, latest = _LAST.search(submitted[array]), made[max(made)]
        coming = range(max(made) + 1, int(last[1]) + 1 if last else 0)
        unmade = latest if latest.cause == CANCELLED else JobStatus(state=LIVE)
        by_elements = array_status({**made, **dict.fromkeys(coming, unmade)})
        job = whole.get(array, Listed(status=by_elements))
        whole[array] = evolve(job, status=evolve(job.status, positions=by_elements.positions))
    return whole


def named(text: str, user: str) -> dict[str, str]:
    """Return the ids of a user's jobs by their names, from ``qstat -f``; the last one counts."""
    named: dict[str, str] = {}
    for block, match in _blocks(text, user):
        name = value(block, "Job_Name")
        if number(match[0]) >= number(named.get(name, "")):
            named[name] = match[0]
    return named


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


_READ = ("job_state", "substate", "comment", "Exit_status", "stime", "obittime", "exec_host",
         "Hold_Types")  # fmt: skip


def status(block: str) -> JobStatus:
    """Return what one job's attributes mean. What is not known is UNKNOWN, never a success."""
    return _status(*(value(block, name) for name in _READ))


@lru_cache(maxsize=8192)  # of the elements of an array many are alike
def _status(*attributes: str) -> JobStatus:
    state, substate, comment, code, began, ended, hosts, hold = attributes
    raw = f"state {state}, substate {substate}, exit status {code or 'none'}: {comment}"
    over, live = state in tuple(OVER), state in tuple(WAITING + RUNNING)
    if comment == UNBORN:  # the time is its array's, and so is the code
        began, code = "", ""
    if not over:  # an array that lives has the code of the element that ended last
        ended, code = "", ""
    number = int(code) if re.fullmatch(r"-?[0-9]{1,9}", code) else None
    if over:
        cause, reason = _ended(substate, number, comment, ran=bool(began))
    elif live:
        reason = _held(state, substate, hold, comment)
        cause = HELD if reason else ""
    else:
        cause, reason = UNKNOWN, f"PBS says {state!r}"
    return JobStatus(
        state=ENDED if over else LIVE, running=live and state in RUNNING,
        cause=cause, reason=reason, raw=raw, started=c_time(began), ended=c_time(ended),
        exit_code=number if number is not None and 0 <= number <= 255 else None,
        signal=signal_of(number, SIGNALS),
        nodes=tuple(dict.fromkeys(re.findall(r"(?:^|\+)([^/+]+)", hosts))),
    )  # fmt: skip


def _held(state: str, substate: str, hold: str, comment: str) -> str:
    """Return why a job will not start before a person does something; "" where it may."""
    if state == "Q" and comment.startswith(NEVER):
        return comment
    kinds = hold.replace("s", "") if substate == BEHIND else hold
    return "; ".join(HOLDS[kind] for kind in HOLDS if kind in kinds) if state == "H" else ""


def _ended(substate: str, code: int | None, comment: str, *, ran: bool) -> tuple[str, str]:
    """Return cause and reason, as pbs_mom and the server leave them in code and substate."""
    if substate == DELETED or comment == UNBORN:
        return CANCELLED, comment or "it was deleted before it began"
    if code is None and (ran or substate == FAILED):
        return UNKNOWN, f"PBS says no exit status: {comment}"
    if code is None:  # nobody deleted it, and it has not run (seen)
        return LOST, "PBS took it out of the queue: what it waited for was not there any more"
    if code == 0:  # of an array it is that of the element that ended last (seen)
        return (ERROR, "some of its elements failed") if substate == FAILED else ("", "")
    if code < 0:
        return CODES.get(code, (ERROR, f"PBS could not start it (exit status {code}): {comment}"))
    return ERROR, ended_badly(code, signal_of(code, SIGNALS))
