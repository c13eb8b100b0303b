"""A Slurm job's variables and log, and what slurmstepd writes into the log."""

from __future__ import annotations

import re
import socket

from ..engine import model
from ..engine.cluster import Cluster
from ..engine.model import Job
from . import words

_ENDINGS = {
    model.CANCELLED: "", model.TIMEOUT: " DUE TO TIME LIMIT",
    model.REQUEUED: " DUE TO JOB REQUEUE", model.PREEMPTED: " DUE TO PREEMPTION",
    model.NODE: " DUE TO NODE FAILURE, SEE SLURMCTLD LOG FOR DETAILS",
}  # fmt: skip


def environment(cluster: Cluster, job: Job) -> dict[str, str]:
    """Return the environment of a job's script."""
    request, names = job.request, [node.name for node in job.nodes]
    number, nodes = str(job.number), words.hosts(names)
    each = "1" if len(names) == 1 else f"1(x{len(names)})"
    cpus = str(request.cpus)
    variables = {
        "ENVIRONMENT": "BATCH", "HOSTNAME": names[0], "TMPDIR": "/tmp",
        "SLURMD_NODENAME": names[0], "SLURM_CLUSTER_NAME": "reflow", "SLURM_CPUS_ON_NODE": cpus,
        "SLURM_GTIDS": "0", "SLURM_JOBID": number, "SLURM_JOB_ACCOUNT": request.account,
        "SLURM_JOB_CPUS_PER_NODE": cpus if len(names) == 1 else f"{cpus}(x{len(names)})",
        "SLURM_JOB_GID": str(request.gid), "SLURM_JOB_ID": number,
        "SLURM_JOB_NAME": request.name, "SLURM_JOB_NODELIST": nodes,
        "SLURM_JOB_NUM_NODES": str(len(names)), "SLURM_JOB_PARTITION": request.partition,
        "SLURM_JOB_QOS": "normal", "SLURM_JOB_UID": str(request.uid),
        "SLURM_JOB_USER": request.user, "SLURM_LOCALID": "0", "SLURM_NNODES": str(len(names)),
        "SLURM_NODEID": "0", "SLURM_NODELIST": nodes, "SLURM_NODE_ALIASES": "(null)",
        "SLURM_PRIO_PROCESS": "0", "SLURM_PROCID": "0",
        "SLURM_SUBMIT_DIR": request.extra["submit"], "SLURM_SUBMIT_HOST": socket.gethostname(),
        "SLURM_TASKS_PER_NODE": each, "SLURM_TOPOLOGY_ADDR": names[0],
        "SLURM_TOPOLOGY_ADDR_PATTERN": "node", "SLURM_MEM_PER_NODE": str(job.memory),
    }  # fmt: skip
    if request.cpus > 1:
        variables["SLURM_CPUS_PER_TASK"] = cpus
    if job.restarts:
        variables["SLURM_RESTART_COUNT"] = str(job.restarts)
    if job.index is not None:
        indices = request.indices or ()
        step = indices[1] - indices[0] if len(indices) > 1 else 1
        variables |= {
            "SLURM_ARRAY_JOB_ID": str(job.base), "SLURM_ARRAY_TASK_ID": str(job.index),
            "SLURM_ARRAY_TASK_COUNT": str(len(indices)),
            "SLURM_ARRAY_TASK_MIN": str(min(indices)), "SLURM_ARRAY_TASK_MAX": str(max(indices)),
            "SLURM_ARRAY_TASK_STEP": str(step),
        }  # fmt: skip
    return {**request.environment, **variables}


def log_path(job: Job, pattern: str) -> str:
    """Fill in a file name pattern; sbatch(1), "filename pattern"."""
    index = "4294967294" if job.index is None else str(job.index)
    node = job.nodes[0].name if job.nodes else ""
    values = {
        "A": str(job.base), "a": index, "j": str(job.own), "J": str(job.own), "x": job.request.name,
        "u": job.request.user, "N": socket.gethostname() if node else "", "n": "0", "t": "0",
        "s": "batch", "%": "%",
    }  # fmt: skip

    def expand(match: re.Match[str]) -> str:
        width, letter = match.groups()
        if letter not in values:
            return match.group()
        value = values[letter]
        return value.zfill(int(width)) if width and value.isdigit() else value

    if "\\" in pattern:
        return pattern.replace("\\", "")
    return re.sub(r"%(\d*)([A-Za-z%])", expand, pattern)


def says(job: Job, outcome: str) -> str:
    """Return the line that slurmstepd leaves in the log of a job that it kills."""
    node = job.nodes[0].name if job.nodes else "n1"
    if outcome == model.MEMORY:
        return (
            f"slurmstepd-{node}: error: Detected 1 oom-kill event(s) in StepId={job.number}.batch. "
            "Some of your processes may have been killed by the cgroup out-of-memory handler.\n"
        )
    return (
        f"slurmstepd-{node}: error: *** JOB {job.number} ON {node} CANCELLED AT "
        f"{words.moment(job.ended)}{_ENDINGS[outcome]} ***\n"
    )


def exit_code(job: Job) -> int:
    """Return what ``sbatch --wait`` exits with."""
    code, _, number = words.exit_code(job.status, job.outcome).partition(":")
    return int(code) or (1 if int(number) or job.outcome != model.DONE else 0)
