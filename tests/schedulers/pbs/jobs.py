"""A PBS job's variables and log, and what pbs_mom writes into the log."""

from __future__ import annotations

import os
import pwd
import shutil

from ..engine import model
from ..engine.cluster import Cluster
from ..engine.model import Job
from . import ids, words


def environment(cluster: Cluster, job: Job) -> dict[str, str]:
    """Return the environment of a job's script: little more than what -v and -V pass on."""
    request = job.request
    home = pwd.getpwuid(request.uid).pw_dir
    variables = {
        "PATH": "/usr/bin:/bin", "HOME": home, "LOGNAME": request.user, "USER": request.user,
        "SHELL": "/bin/bash", "ENVIRONMENT": "BATCH", "TMPDIR": f"/var/tmp/pbs.{ids.id_of(job)}",
        **request.environment,
        "NCPUS": str(request.cpus), "OMP_NUM_THREADS": str(request.cpus),
        "PBS_ENVIRONMENT": "PBS_BATCH", "PBS_JOBDIR": home, "PBS_JOBID": ids.id_of(job),
        "PBS_JOBNAME": request.name, "PBS_NODENUM": "0", "PBS_QUEUE": request.partition,
        "PBS_TASKNUM": "1", "PBS_NODEFILE": f"/var/spool/pbs/aux/{ids.id_of(job)}",
        "PBS_O_WORKDIR": request.extra["submit"], "PBS_O_HOST": words.SERVER,
        "PBS_O_HOME": request.extra["home"], "PBS_O_LOGNAME": request.user,
        "PBS_O_QUEUE": request.partition, "PBS_O_SYSTEM": "Linux",
    }  # fmt: skip
    if job.index is not None:
        variables |= {
            "PBS_ARRAY_INDEX": str(job.index), "PBS_ARRAY_ID": ids.id_of(job, whole=True)
        }  # fmt: skip
    os.makedirs(variables["TMPDIR"], exist_ok=True)
    return variables


def final_path(job: Job, pattern: str, letter: str) -> str:
    """Return where a log belongs; PBS fills in no placeholders, unlike other schedulers."""
    if not pattern:
        place = "" if job.index is None else f".{job.index}"
        return f"{job.request.extra['submit']}/{job.request.name}.{letter}{job.base}{place}"
    if pattern.endswith("/") or os.path.isdir(pattern):
        return os.path.join(pattern, f"{ids.id_of(job)}.{'OU' if letter == 'o' else 'ER'}")
    return pattern if job.index is None else pattern.replace("^array_index^", str(job.index))


def log_path(job: Job, pattern: str) -> str:
    """Return where a job writes: where it belongs, or into the spool until it has ended."""
    letter, path = pattern[0], pattern[1:]
    if "d" in job.request.extra["keep"] and letter in job.request.extra["keep"]:
        return final_path(job, path, letter)
    folder = os.path.dirname(os.path.dirname(job.request.script))
    return f"{folder}/spool/{ids.id_of(job)}.{'OU' if letter == 'o' else 'ER'}"


def deliver(job: Job) -> None:
    """Bring the logs of a job that has ended from the spool to where they belong."""
    if not job.log:
        return
    for pattern in (job.request.output, job.request.error):
        path, final = log_path(job, pattern or "o"), ""
        if pattern and os.path.exists(path):
            final = final_path(job, pattern[1:], pattern[0])
        if not final or final == path:
            continue
        if final == "/dev/null":  # whose mode is everybody's
            continue
        try:
            shutil.copyfile(path, final)
            os.chmod(final, 0o666 & ~int(job.request.extra["umask"] or "077", 8))
        except OSError:
            continue  # the log stays undelivered; the job's outcome does not change
        os.unlink(path)


def says(job: Job, outcome: str) -> str:
    """Return the line that pbs_mom leaves in the log of a job that it kills."""
    if outcome == model.TIMEOUT:
        used = int(job.ended - job.started)
        return f"=>> PBS: job killed: walltime {used} exceeded limit {job.limit}\n"
    if outcome == model.MEMORY:
        return f"=>> PBS: job killed: mem {job.peak}kb exceeded limit {job.memory * 1024}kb\n"
    return ""


def exit_status(job: Job) -> int:
    """Return the Exit_status of a job that has run."""
    if job.outcome == model.TIMEOUT:
        return -29
    if job.outcome == model.MEMORY:
        return -27
    if job.outcome == model.NODE:
        return -20
    if job.status is None or job.status == model.MISSING_FOLDER:
        return -1
    if os.WIFSIGNALED(job.status):
        # A script is started by the login shell, which outlives it unless PBS kills both.
        shell = not job.ending and not job.request.extra["direct"]
        return (128 if shell else 256) + os.WTERMSIG(job.status)
    return os.WEXITSTATUS(job.status)
