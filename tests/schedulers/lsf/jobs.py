"""An LSF job's environment, how it ends, and the report at the head of its output."""

from __future__ import annotations

import os
import signal
import time

from ..engine import model
from ..engine.cluster import Cluster
from ..engine.model import Job

HOST = os.uname().nodename
SECOND = "%a %b %e %H:%M:%S"


def environment(cluster: Cluster, job: Job) -> dict[str, str]:
    """Return the environment of a job: a plain one has the index 0."""
    request = job.request
    variables = {
        "LSB_JOBID": str(job.base), "LSB_JOBINDEX": str(job.index or 0), "LSB_QUEUE":
        request.partition, "LSB_JOBNAME": request.extra["spec"], "LSB_HOSTS":
        " ".join([HOST] * request.tasks), "LSB_DJOB_NUMPROC": str(request.tasks),
        "LSB_MCPU_HOSTS": f"{HOST} {request.tasks} ", "LSB_SUB_HOST": HOST,
        "LSB_JOBFILENAME": request.script, "LS_SUBCWD": request.extra["directory"],
        "LSB_JOBEXIT_STAT": "0", "LS_JOBPID": "1", "LSB_JOB_EXECUSER": request.user,
    }  # fmt: skip
    if job.index is not None:
        variables["LSB_JOBINDEX_END"] = str(max(request.indices or (0,)))
        variables["LSB_JOBINDEX_STEP"] = "1"
    return {**request.environment, **variables}


def log_path(job: Job, path: str) -> str:
    """Return where output is kept while a job runs."""
    return f"{os.path.dirname(job.request.script)}/{job.index or 0}{path}"


def signals(outcome: str) -> tuple[int, ...]:
    """Return the signals that LSF sends: SIGINT first for bkill, SIGUSR2 at the run limit."""
    if outcome == model.TIMEOUT:
        return (signal.SIGUSR2,)
    return (signal.SIGINT, signal.SIGTERM)


def exit_code(job: Job) -> int | None:
    """Return the exit code that LSF shows, 0 where it is DONE, None where it shows none."""
    if not job.started:
        return None
    assert job.status is not None
    if job.status < 0:
        return 1
    if os.WIFSIGNALED(job.status):
        # LSF does not notice how its own shell has died, unless LSF itself sent the signal.
        return 128 + os.WTERMSIG(job.status) if job.ending else 0
    return os.WEXITSTATUS(job.status)


def state(job: Job) -> str:
    """Return STAT."""
    if job.state == model.PENDING:
        return "PSUSP" if job.held else "PEND"
    if job.state != model.ENDED:
        return "RUN"
    return "DONE" if exit_code(job) == 0 else "EXIT"


def identity(job: Job) -> str:
    return str(job.base) if job.index is None else f"{job.base}[{job.index}]"


def name(job: Job) -> str:
    """Return the name with the element's own index."""
    spec = job.request.extra["spec"]
    return spec if job.index is None else f"{spec.partition('[')[0]}[{job.index}]"


def ending(job: Job) -> str:
    """Return how long forms say that a job has ended; "" while it lives."""
    code = exit_code(job) if job.state == model.ENDED else None
    if job.state != model.ENDED:
        return ""
    if code is None:
        return "Exited"
    return "Done successfully." if code == 0 else f"Exited with exit code {code}."


def moment(seconds: float) -> str:
    return time.strftime(SECOND, time.localtime(seconds))


def report(job: Job) -> None:
    """Append a report and what the job has printed to its output file."""
    if job.index is None and not job.started:
        return
    request = job.request
    for which in ("output", "error"):
        path = request.extra[which]
        if not path or path == "/dev/null":
            continue
        path = path.replace("%J", str(job.base)).replace("%I", str(job.index or 0))
        path = os.path.join(request.extra["directory"], path)
        try:
            with open(log_path(job, "" if which == "output" else ".err"), errors="replace") as file:
                printed = file.read()
            with open(path, "a") as file:
                file.write((_head(job) if which == "output" else "") + printed)
        except OSError:
            continue  # the output is lost without a message


def _head(job: Job) -> str:
    request = job.request
    code, line = exit_code(job), "-" * 60
    ending = "Successfully completed." if code == 0 else f"Exited with exit code {code}."
    spec = request.extra["spec"]
    return (
        f"Sender: OpenLava System <{request.user}@{HOST}>\n"
        f"Subject: Job {identity(job)}: <{spec}> {'Done' if code == 0 else 'Exited'}\n\n"
        f"Job <{spec}> was submitted from host <{HOST}> by user <{request.user}>.\n\n"
        f"Your job looked like:\n\n{line}\n# LSBATCH: User input\n{request.extra['command']}\n"
        f"{line}\n\n{ending}\n\nThe output (if any) follows:\n\n"
    )
