"""What PBS's commands print, read into neutral words; pure.

Manual pages: qstat(1B) and pbs_job_attributes(7B), OpenPBS 23.06; the exit codes below zero are
those of "Job Exit Status Codes" in the Administrator's Guide. Nothing here raises for what it
cannot read: what is no answer is passed over.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from functools import lru_cache

from attrs import evolve, frozen

from reflow.executors.base import ENDED, LIVE, JobStatus
from reflow.states import CANCELLED, ERROR, HELD, LOST, NODE_FAIL, OOM, TIMEOUT, UNKNOWN

LIVE_STATES = {
    # state: whether it runs. B: an array that has begun; E: ending; S, U: suspended
    "Q": False, "H": False, "W": False, "T": False, "M": False,
    "R": True, "E": True, "B": True, "S": True, "U": True,
}  # fmt: skip
ENDED_STATES = ("F", "X")  # X: an element whose array lives

CANCELLED_SUBSTATE, WAITING_SUBSTATE, FAILED_SUBSTATE = "91", "22", "93"

CODES = {
    -4: (NODE_FAIL, "its node was started anew"), -5: (NODE_FAIL, "its node was started anew"),
    -6: (NODE_FAIL, "its node was started anew"), -20: (NODE_FAIL, "its node failed"),
    -24: (ERROR, "used more processors than it asked for"),
    -25: (ERROR, "used more processors than it asked for"),
    -26: (OOM, "used more virtual memory than it asked for"),
    -27: (OOM, "used more memory than it asked for"),
    -28: (TIMEOUT, "used more processor time than it asked for"),
    -29: (TIMEOUT, "ran into its time limit"),
}  # fmt: skip
"""What PBS itself ended a job for; other codes below zero: it could not be started."""

HOLDS = {
    "u": "it is held by its user: qrls",
    "o": "it is held by an operator",
    "s": "it is held by PBS or an administrator",
    "p": "it is held for its user's bad password",
}

LIMIT = re.compile(r"would exceed .*limit|Maximum number of jobs")
"""What qsub says where the job could be taken later."""

UNREACHABLE = re.compile(
    r"cannot connect to server|Couldn't connect to cluster|Connection (?:refused|timed out|reset)|"
    r"Unknown Host\.|errno=15\d{3}|End of File|Premature end of message|Communication failure|"
    r"No route to host|Server shutting down|Invalid credential",
    re.IGNORECASE,
)
GONE = re.compile(r"Unknown Job Id|Job has finished", re.IGNORECASE)
"""What is said of a job that is not, or no more, there."""
HARMLESS = re.compile(rf"{GONE.pattern}|Unauthorized Request|Invalid (?:request|state)|"
                      r"invalid for state|not configured to maintain", re.IGNORECASE)  # fmt: skip
"""What qdel says of jobs that are gone, are ending, or are another's by now."""
NO_HISTORY = "not configured to maintain job history"

_ID = re.compile(r"([0-9]+)(\[([0-9]*)\])?(\.[A-Za-z0-9_.-]+)?")
_SERVER_SETTING = r"^\s*{}\s*=\s*(\S+)\s*$"


@frozen(kw_only=True)
class Seen:
    """What is said of one job: its status, and the jobs that it waits for."""

    status: JobStatus
    waits_for: tuple[str, ...] = ()


def job_id(text: str) -> str:
    """Return the full id that `qsub` printed, ``1.pbshost`` or ``26[].pbshost``.

    Raises `ValueError` for anything else.
    """
    # A site's greeting may stand before it, or after.
    found = [line.strip() for line in text.splitlines() if _is_id(line.strip())]
    if len(found) != 1:
        raise ValueError(f"qsub printed no job id: {text.strip()[:200]!r}")
    return found[0]


def _is_id(text: str) -> bool:
    match = _ID.fullmatch(text)
    return match is not None and bool(match[4]) and not match[3]


def listed(text: str) -> list[str]:
    """Return the ids that qselect printed, one a line."""
    return [line.strip() for line in text.splitlines() if _ID.fullmatch(line.strip())]


def number(job: str) -> int:
    """Return the number of an id; -1 of what is none."""
    match = _ID.match(job)
    return int(match[1]) if match else -1


def server_setting(text: str, name: str) -> str | None:
    """Return what ``qstat -B -f`` says of a setting of the server."""
    found = re.search(_SERVER_SETTING.format(name), text, re.MULTILINE)
    return found[1] if found else None


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
        if match is None or (user and _value(block, "Job_Owner").partition("@")[0] != user):
            continue
        if match[3]:
            array = f"{match[1]}[]{match[4] or ''}"
            places.setdefault(array, {})[int(match[3])] = status(block)
        else:
            whole[name] = Seen(status=status(block), waits_for=tuple(dependencies(block)))
    for array, found in places.items():
        if array in whole:
            before = whole[array]
            whole[array] = evolve(before, status=evolve(before.status, positions=found))
    return whole


def dependencies(block: str) -> Iterator[str]:
    """Yield the jobs that one waits for: ``depend = afterany:1.host@host:2[].host@host,…``."""
    for clause in _value(block, "depend").split(","):
        kind, *waited = clause.split(":")
        if kind.startswith("after"):
            yield from (one.partition("@")[0] for one in waited)


def _value(block: str, name: str) -> str:
    start = block.find(f"\n    {name} = ")
    if start < 0:
        return ""
    start += len(name) + 8
    end = block.find("\n", start)
    return block[start : end if end >= 0 else None].strip()


def status(block: str) -> JobStatus:
    """Return what one job's attributes mean. What is not known is UNKNOWN, never a success."""
    state, substate = _value(block, "job_state"), _value(block, "substate")
    comment, code = _value(block, "comment"), _value(block, "Exit_status")
    began = _time(_value(block, "stime"))
    raw = f"state {state}, substate {substate}, exit status {code or 'none'}: {comment}"
    if comment == "Subjob finished":  # never ran; the time is its array's, and so is the code
        began, code = None, ""
    exit_code = int(code) if re.fullmatch(r"-?[0-9]{1,9}", code) else None
    signal = exit_code - 256 if exit_code is not None and exit_code > 256 else None
    cause, reason = UNKNOWN, f"PBS says {state!r}"
    if state in LIVE_STATES:
        reason = _held(state, substate, _value(block, "Hold_Types"), comment)
        cause = HELD if reason else ""
    elif state in ENDED_STATES:
        cause, reason = _ended(substate, exit_code, comment, ran=began is not None)
    hosts = (one.partition("/")[0] for one in _value(block, "exec_host").split("+"))
    return JobStatus(
        state=ENDED if state in ENDED_STATES else LIVE,
        running=LIVE_STATES.get(state, False),
        cause=cause,
        exit_code=None if signal or (exit_code or 0) < 0 else exit_code,
        signal=signal,
        nodes=tuple(dict.fromkeys(one for one in hosts if one)),
        started=began,
        ended=_time(_value(block, "obittime")) if state in ENDED_STATES else None,
        reason=reason,
        raw=raw,
    )


def _held(state: str, substate: str, holds: str, comment: str) -> str:
    """Return why a job will not start before a person does something; "" where it may."""
    if state == "Q" and comment.startswith("Can Never Run"):
        return comment
    if state == "H":
        kinds = holds.replace("s", "") if substate == WAITING_SUBSTATE else holds
        return "; ".join(told for kind, told in HOLDS.items() if kind in kinds)
    return ""


def _ended(substate: str, code: int | None, comment: str, *, ran: bool) -> tuple[str, str]:
    """Return cause and reason; as pbs_mom and the server leave them in code and substate."""
    if substate == CANCELLED_SUBSTATE or (code is None and comment == "Subjob finished"):
        return CANCELLED, comment or "it was deleted before it began"
    if code is None:
        if ran or substate == FAILED_SUBSTATE:
            return UNKNOWN, f"PBS says no exit status: {comment}"
        # Nobody deleted it, and it has not run.
        return LOST, "PBS took it out of the queue: what it waited for was not there any more"
    if code == 0:
        failed = substate == FAILED_SUBSTATE  # of an array the code is that of the last to end
        return (ERROR, "some of its elements failed") if failed else ("", "")
    if code < 0:
        return CODES.get(code, (ERROR, f"PBS could not start it (exit status {code}): {comment}"))
    if code > 256:
        suspected = ": memory suspected" if code == 256 + 9 else ""
        return ERROR, f"killed by signal {code - 256}{suspected}"
    if 128 < code < 128 + 65:
        return ERROR, f"exit code {code}, or killed by signal {code - 128}"
    return ERROR, f"exit code {code}"


@lru_cache(maxsize=4096)
def _time(text: str) -> float | None:
    try:
        return time.mktime(time.strptime(text, "%a %b %d %H:%M:%S %Y"))
    except (ValueError, OverflowError):
        return None
