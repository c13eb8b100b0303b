"""A Grid Engine job's variables and log, and what happens at its end."""

from __future__ import annotations

import os
import re
import time

from ..engine.cluster import Cluster
from ..engine.model import ENDED, MISSING_FOLDER, Job
from . import words


def environment(cluster: Cluster, job: Job) -> dict[str, str]:
    """Return the environment of a job's script."""
    request, indices = job.request, job.request.indices
    number, task = str(job.base), "undefined" if job.index is None else str(job.index)
    first = last = step = "undefined"
    if indices:
        first, last = str(indices[0]), str(indices[-1])
        step = str(indices[1] - indices[0]) if len(indices) > 1 else "1"
    queue = job.nodes[0].name
    scratch = f"/tmp/{number}.{task if indices else 1}.{queue}"
    variables = {
        "ENVIRONMENT": "BATCH", "HOSTNAME": words.HOST, "JOB_ID": number,
        "JOB_NAME": request.name, "JOB_SCRIPT": request.script, "NHOSTS": "1", "NQUEUES": "1",
        "NSLOTS": str(request.cpus), "QUEUE": queue, "REQNAME": request.name,
        "REQUEST": request.name, "RESTARTED": str(min(1, job.restarts)), "SGE_ACCOUNT":
        request.extra["account"], "SGE_ARCH": "lx-amd64", "SGE_CELL": "default",
        "SGE_CWD_PATH": request.directory, "SGE_O_HOME": request.environment.get("HOME", "/"),
        "SGE_O_HOST": "localhost", "SGE_O_LOGNAME": request.user, "SGE_O_SHELL": "/bin/sh",
        "SGE_O_WORKDIR": request.extra["submit"], "SGE_ROOT": "/var/lib/gridengine",
        "SGE_STDIN_PATH": "/dev/null", "SGE_STDOUT_PATH": job.log, "SGE_TASK_FIRST": first,
        "SGE_TASK_ID": task, "SGE_TASK_LAST": last, "SGE_TASK_STEPSIZE": step, "TMP": scratch,
        "TMPDIR": scratch, "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games",
    }  # fmt: skip
    if request.extra["pe"]:
        variables["PE"] = request.extra["pe"]
    os.makedirs(scratch, exist_ok=True)
    os.chown(scratch, request.uid, request.gid)
    return {**request.environment, **variables}


def log_path(job: Job, pattern: str) -> str:
    """Fill in a path: ``$JOB_ID``, ``$JOB_NAME``, ``$TASK_ID``, ``$USER``, ``$HOSTNAME``."""
    request = job.request
    values = {
        "JOB_ID": str(job.base), "JOB_NAME": request.name, "USER": request.user,
        "HOSTNAME": words.HOST, "TASK_ID": str(job.index or 0), "HOME": request.extra["home"],
    }  # fmt: skip
    path = re.sub(r"\$(\w+)", lambda match: values.get(match[1], match[0]), pattern)
    if os.path.isdir(path):
        tail = f".{job.index}" if job.index is not None else ""
        path = os.path.join(path, f"{request.name}.o{job.base}{tail}")
    return path


def verdict(job: Job) -> str:
    """Judge how a start ended: 99 requeues the job, 100 and a missing folder put it in error."""
    stamp = time.strftime("%m/%d/%Y %H:%M:%S")
    where = f"{stamp} [{job.request.uid}:{job.number % 30000}]: "
    if job.status == MISSING_FOLDER:
        if not os.path.isdir(os.path.dirname(job.log)):
            return f'{where}error: can\'t open output file "{job.log}": No such file or directory'
        return f"{where}error: can't chdir to {job.request.directory}: No such file or directory"
    killed, code = words.exit_status(job.status)
    if not killed and code == 99:
        return "again"
    return f"{where}exit_status of job start = 100" if not killed and code == 100 else ""


def miscount(job: Job) -> None:
    """Lose an array's throttle at the end of a task, once a waiting task was deleted.

    The real Grid Engine does so too, for as long as the array lives.
    """
    if job.started and job.request.extra.get("miscounted"):
        job.request.throttle = 0


def exit_code(job: Job) -> int:
    """Return what ``qsub -sync y`` exits with."""
    assert job.state == ENDED
    return words.exit_status(job.status)[1]
