"""qdel: takes jobs out of the queue. It writes all its messages to standard output."""

from __future__ import annotations

import pwd
from typing import Any

from ..engine.cluster import Cluster
from ..engine.model import COMPLETING, PENDING, Job
from ..engine.server import Answer, Call
from . import words


def qdel(cluster: Cluster, call: Call, fault: dict[str, Any] | None) -> Answer:
    own = pwd.getpwuid(call.uid).pw_name
    targets: list[tuple[str, str]] = []
    users: list[str] = []
    pending = list(call.arguments)
    while pending:
        word = pending.pop(0)
        if word == "-help":
            return Answer(out=words.VERSION + "usage: qdel [options] job_task_list\n")
        if word in ("-u", "-uall") and pending:
            users += pending.pop(0).split(",")
        elif word == "-t" and pending and targets:
            targets[-1] = (targets[-1][0], pending.pop(0))
        elif word == "-f":
            continue
        elif word.startswith("-"):
            return Answer(1, err=f'error: ERROR! invalid option argument "{word}"\n')
        else:
            targets += [(target, "") for target in word.split(",") if target]
    if not targets and not users:
        return Answer(1, err="error: ERROR! no option argument provided\n")
    output, code = "", 0
    for user in users:
        bases = sorted(
            {job.base for job in cluster.remembered() if job.live and job.request.user == user}
        )
        if not bases:
            output, code = f"{output}There are no jobs registered for user {user}\n", 1
        targets += [(str(base), "") for base in bases]
    for word, flags in targets:
        jobs, tasks = words.chosen(cluster, word, own)
        tasks = words.span(flags) if flags else tasks
        if not jobs:
            code = 1
            output += (
                f'denied: job "{word}" does not exist\n'
                if word.partition(".")[0].isdigit()
                else f"The job {word} of user(s) {own} does not exist\n"
            )
        for base in sorted({job.base for job in jobs}):
            whole = [job for job in jobs if job.base == base]
            some = whole if tasks is None else [job for job in whole if job.index in tasks]
            if not some:
                assert tasks is not None
                output += f'job "{base}" task "{tasks[0]}" does not exist\n'
            elif call.uid not in (0, some[0].request.uid):
                code = 1
                output += f"{own} - you do not have the necessary privileges to delete the job \"{base}\"\n"  # noqa: E501
            else:
                output += _delete(cluster, own, call.uid, base, some, len(some) == len(whole))
    return Answer(code, out=output)


def _delete(
    cluster: Cluster, own: str, uid: int, base: int, jobs: list[Job], whole: bool
) -> str:
    output = ""
    array = jobs[0].index is not None
    running = [job for job in jobs if job.state != PENDING]
    waiting = [job for job in jobs if job.state == PENDING]
    for job in running:
        what = f"job-array task {base}.{job.index}" if array else f"job {base}"
        if job.state == COMPLETING:
            output += f"job {base} is already in deletion\n"
        else:
            output += f"{own} has registered the {what} for deletion\n"
    if waiting and array and not whole:
        jobs[0].request.extra["miscounted"] = "yes"
    if waiting and (whole or not array):
        output += f"{own} has deleted job {base}\n"
    elif len(waiting) == 1:
        output += f"{own} has deleted job-array task {base}.{waiting[0].index}\n"
    elif waiting:
        listed = words.task_list(job.index or 0 for job in waiting)
        output += f"{own} has deleted job-array tasks {listed} of job {base}\n"
    cluster.cancel(jobs, uid)
    return output
