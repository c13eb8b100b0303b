"""Where Torque's dialect differs from that of OpenPBS; pure.

Manual pages: qsub(1B), qstat(1B), pbs_job_attributes(7B) of Torque 6.1; what they leave open, or
say otherwise, is as a server of 6.1.3 does it.
"""

from __future__ import annotations

import re
import shlex

from reflow.executors.base import JobRequest
from reflow.executors.command import Completed

DROPPED = re.compile("Invalid Job Dependency")
"""What qsub says of a job that is to wait for one that has ended or that nobody knows (seen)."""
WORDS = {"ncpus": "ppn", "ngpus": "gpus"}
"""What resources of a chunk are called in nodes=."""
LARGEST = 1000
"""Elements of an array, where the server has no limit: it takes 8 ms to delete each."""

_DELETED = r"\1    substate = 91\n    comment = it was deleted\n"
_CODES = {-10: -27, -11: -29, -12: -28}
_TRANSLATIONS = (
    (r"\n    comment = Job started on .*", ""),
    (r"(\n    exit_status = 271\n)", _DELETED),  # SIGTERM for all of it
    # Never began.
    (r"(\n    job_state = C\n)(?!(?:[ \t].*\n)*    (?:exit_status|start_time) = )", _DELETED),
    (r"(\n    depend = after)", r"\n    substate = 22\1"),
    (r"\n    job_state = C\n", "\n    job_state = F\n"),
    # More memory, time, processor time than it asked for.
    *((rf"(\n    exit_status) = {code}\n", rf"\1 = {pbs}\n") for code, pbs in _CODES.items()),
    (r"\n    exit_status = ", "\n    Exit_status = "),
    (r"\n    start_time = ", "\n    stime = "),
    (r"\n    comp_time = ", "\n    obittime = "),
)
_START = (
    'out=$(readlink "/proc/$$/fd/1"); case $out in *.OU) rm -f "$out";; esac; '
    "PBS_ARRAY_INDEX=$PBS_ARRAYID; export PBS_ARRAY_INDEX; "
)


def answered(done: Completed) -> bool:
    """Whether ``qstat --version`` is Torque's; that of OpenPBS says pbs_version."""
    return re.search(r"^version: [0-9]", done.out + done.err, re.I | re.M) is not None


def depend(jobs: tuple[str, ...]) -> str:
    """Return what a job waits for; one that waits by afterany for an array waits for ever."""
    arrays = [job for job in jobs if "[" in job]
    kinds = (("afterany", [job for job in jobs if job not in arrays]), ("afteranyarray", arrays))
    return ",".join(":".join((kind, *ids)) for kind, ids in kinds if ids)


def times(nodes: str, mem: str) -> str:
    """Return the memory of all nodes, which is what Torque's mem means.

    >>> times("3", "4gb")
    '12gb'
    """
    return re.sub("^[0-9]+", lambda number: str(int(number[0]) * int(nodes)), mem)


def script(request: JobRequest, umask: str) -> str:
    """Return the script that qsub reads: for any login shell, it starts the job's own.

    Torque itself writes logs when a job has ended, and those of elements with their numbers
    appended to the path: so this does it, and Torque is told to write none. Of elements it leaves
    a file in the spool of the node, which is removed.
    """
    log = '"${PBS_ARRAYID:-0}"'.join(map(shlex.quote, request.log.split("{position}")))
    job = f"exec /bin/sh {shlex.quote(request.script)} >> {log} 2>&1 < /dev/null"
    return f"exec /bin/sh -c {shlex.quote(f'{_START}umask {umask}; {job}')}\n"


def translated(text: str) -> str:
    """Return what ``qstat -f`` prints in the words of OpenPBS."""
    for pattern, replacement in _TRANSLATIONS:
        text = re.sub(pattern, replacement, text)
    return text
