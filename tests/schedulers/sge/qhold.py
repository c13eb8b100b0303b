"""qhold, qrls and qmod -cj: hold jobs, release them, take them out of the state of error."""

from __future__ import annotations

import pwd
from typing import Any

from ..engine.cluster import Cluster
from ..engine.model import Job
from ..engine.server import Answer, Call
from . import words


def qhold(cluster: Cluster, call: Call, fault: dict[str, Any] | None) -> Answer:
    return _each(cluster, call, cluster.hold)


def qrls(cluster: Cluster, call: Call, fault: dict[str, Any] | None) -> Answer:
    return _each(cluster, call, cluster.release)


def _each(cluster: Cluster, call: Call, act: Any) -> Answer:
    own = pwd.getpwuid(call.uid).pw_name
    output, code = "", 0
    targets: list[tuple[str, str]] = []
    pending = list(call.arguments)
    while pending:
        word = pending.pop(0)
        if word == "-t" and pending and targets:
            targets[-1] = (targets[-1][0], pending.pop(0))
        elif word.startswith("-"):
            return Answer(1, err=f'error: ERROR! invalid option argument "{word}"\n')
        else:
            targets += [(target, "") for target in word.split(",") if target]
    for word, flags in targets:
        jobs, tasks = words.chosen(cluster, word, own)
        tasks = words.span(flags) if flags else tasks
        if not jobs:
            output, code = f'{output}denied: job "{word}" does not exist\n', 3
            continue
        some: list[Job] = [job for job in jobs if tasks is None or job.index in tasks]
        for job in some:
            act(job)
        if tasks is not None and len(some) == 1:
            output += f"modified hold of job-array task {some[0].base}.{some[0].index}\n"
        else:
            output += f"modified hold of job {jobs[0].base}\n"
    return Answer(code, out=output)


def qmod(cluster: Cluster, call: Call, fault: dict[str, Any] | None) -> Answer:
    own = pwd.getpwuid(call.uid).pw_name
    if len(call.arguments) != 2 or call.arguments[0] != "-cj":
        return Answer(1, err="error: ERROR! no option argument provided\n")
    jobs, _ = words.chosen(cluster, call.arguments[1], own)
    if not jobs:
        return Answer(1, out=f'invalid queue or job "{call.arguments[1]}"\n')
    output = ""
    for job in jobs:
        if job.error:
            cluster.mend(job)
            task = f"job-array task {job.base}.{job.index}"
            what = f"job {job.base}" if job.index is None else task
            output += f"{own}@{words.HOST} cleared error state of {what}\n"
    return Answer(1, out=output)  # qmod exits with 1 whatever it did
