"""Grid Engine's names for the engine's states, and how it writes ids, times and sizes."""

from __future__ import annotations

import fnmatch
import os
import re
import socket
import time
from collections.abc import Iterable
from itertools import pairwise

from ..engine import model
from ..engine.cluster import Cluster
from ..engine.model import Job
from ..engine.server import Answer

HOST = socket.gethostname()
SEND = f'unable to send message to qmaster using port 6444 on host "{HOST}": got send error'
REFUSED = "error: commlib error: got select error (Connection refused)"
VERSION = "SGE 8.1.9\n"


def no_answer(command: str, pause: float) -> Answer:
    """Return what a command says when qmaster does not answer."""
    if command == "qsub":
        return Answer(1, err=f"Unable to run job: {SEND}\nExiting.\n{REFUSED}\n", pause=pause)
    if command in ("qdel", "qhold", "qrls", "qmod"):
        return Answer(1, out=f"{SEND}\n", err=f"{REFUSED}\n", pause=pause)
    return Answer(1, err=f"{REFUSED}\nerror: {SEND}\n", pause=pause)


def state(job: Job) -> str:
    """Return the letters of a job's state."""
    if job.state == model.ENDED:
        return "z"
    if job.state == model.RUNNING:
        return "Rr" if job.restarts and not job.error else "r"
    if job.state == model.COMPLETING:
        return "dr" if job.ending == model.CANCELLED else "r"
    if job.error:
        return "Eqw"
    held = job.held or bool(job.dependencies)
    return ("h" if held else "") + ("Rq" if job.restarts and not job.error else "qw")


def task_list(tasks: Iterable[int]) -> str:
    """Write tasks as qstat does.

    >>> task_list([4, 17, 18, 19, 20]), task_list([1, 2]), task_list([4, 6, 8])
    ('4,17-20:1', '1,2', '4-8:2')
    """
    indices = sorted(tasks)
    if len(indices) > 2:
        step = indices[1] - indices[0]
        if all(b - a == step for a, b in pairwise(indices)):
            return f"{indices[0]}-{indices[-1]}:{step}"
    spans: list[list[int]] = []
    for index in indices:
        if spans and index == spans[-1][-1] + 1:
            spans[-1].append(index)
        else:
            spans.append([index])
    return ",".join(
        f"{span[0]}-{span[-1]}:1" if len(span) > 2 else ",".join(map(str, span)) for span in spans
    )


def span(text: str) -> range | None:
    """Read ``3``, ``1-10`` or ``2-10:3``; None if it is not a range."""
    match = re.fullmatch(r"(\d+)(?:-(\d+)(?::(\d+))?)?", text)
    if match is None:
        return None
    first, last, step = int(match[1]), int(match[2] or match[1]), int(match[3] or 1)
    first, last = min(first, last), max(first, last)
    return range(first, last + 1, step or 1)


def seconds(text: str) -> int | None:
    """Read a time limit, seconds or ``H:M:S``; None if it is not one."""
    if re.fullmatch(r"\d+", text):
        return int(text)
    match = re.fullmatch(r"(\d*):(\d*):(\d*)", text)
    if match is None:
        return None
    hours, minutes, last = (int(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + last


def size(text: str) -> int | None:
    """Read a size in bytes; None if it is not a size."""
    match = re.fullmatch(r"(\d+(?:\.\d*)?)([KkMmGg]?)", text)
    if match is None:
        return None
    unit = match[2]
    base = 1024 if unit.isupper() else 1000
    return int(float(match[1]) * base ** " KMG".index(unit.upper() or " "))


def moment(text: str) -> float | None:
    """Read ``[[CC]YY]MMDDhhmm[.SS]``; None if it is not a time."""
    match = re.fullmatch(r"(\d{8}|\d{10}|\d{12})(?:\.(\d\d))?", text)
    if match is None:
        return None
    year = time.strftime("%Y")
    full = {8: year, 10: year[:2], 12: ""}[len(match[1])] + match[1]
    try:
        return time.mktime(time.strptime(full + (match[2] or "00"), "%Y%m%d%H%M%S"))
    except ValueError:
        return None


def long_time(when: float) -> str:
    """Write a time as qacct and ``qstat -j`` do."""
    return time.strftime("%a %b %d %H:%M:%S %Y", time.localtime(when)) if when else "-/-"


def iso(when: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(when))


def instance(job: Job) -> str:
    return f"{job.nodes[0].name}@{HOST}" if job.nodes else ""


def exit_status(status: int | None) -> tuple[bool, int]:
    """Return whether a signal ended a job, and its exit status."""
    if status is None or status < 0:
        return False, 0
    if os.WIFSIGNALED(status):
        return True, 128 + os.WTERMSIG(status)
    return False, os.WEXITSTATUS(status)


def chosen(cluster: Cluster, word: str, user: str) -> tuple[list[Job], range | None]:
    """Return the living jobs that a word names: ``5``, ``5.3``, ``5.1-3:1``, a name, a pattern."""
    match = re.fullmatch(r"(\d+)(?:\.(.+))?", word)
    if match:
        tasks = span(match[2]) if match[2] else None
        jobs = cluster.jobs.get(int(match[1]), [])
        return [job for job in jobs if job.live], tasks
    return [
        job
        for jobs in list(cluster.jobs.values())
        for job in jobs
        if job.live and job.request.user == user and fnmatch.fnmatchcase(job.request.name, word)
    ], None
