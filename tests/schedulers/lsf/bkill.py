"""bkill: ends jobs; elements that are named at once, whole arrays one by one."""

from __future__ import annotations

import pwd
from typing import Any

from ..engine.cluster import Cluster
from ..engine.model import RUNNING, Job
from ..engine.server import Answer, Call
from . import jobs, words
from .words import Usage

USAGE = (
    "Usage: bkill [-h] [-V] [-l] [-m host_name] [-q queue_name] [-g job_group]\n"
    "               [-u user_name | -u all] [0] [-r | -s sigval] [-J job_name] \n"
    '               [jobId | "jobId[index_list]"]...\n'
)
PAUSE = 120.0
"""Seconds of simulated time between two elements of a whole array that mbatchd ends."""


def bkill(cluster: Cluster, call: Call, fault: dict[str, Any] | None) -> Answer:
    try:
        flags, operands = words.options(call.arguments, "V h l q: u: m: s: J: g: r")
    except Usage:
        return Answer(255, err=USAGE)
    if "V" in flags:
        return Answer(err=words.VERSION)
    if not operands and "J" not in flags:
        return Answer(
            255, err="Job ID or one of '-m', '-u' '-q' -'g' and '-J' must be specified" + USAGE
        )
    for word in operands:
        if words.ids(word) is None:
            return Answer(255, err=f"{word}: Illegal job ID.\n")
    answer = words.down(cluster, call, fault)
    if answer is not None:
        return answer
    user = pwd.getpwuid(call.uid).pw_name
    out, err = "", ""
    if "J" in flags or operands == ["0"]:
        chosen = [
            job for job in cluster.remembered()
            if job.live and job.request.user == user
            and ("J" not in flags or job.request.name == flags["J"])
        ]  # fmt: skip
        if not chosen:
            return Answer(255, err="No unfinished job found\n")
        for job in chosen:
            cluster.cancel([job], call.uid)
            out += f"Job <{jobs.identity(job)}> is being terminated\n"
        return Answer(out=out)
    for word in dict.fromkeys(operands):
        number, indices = words.ids(word) or (0, [])
        matches = words.find(cluster, number, [])
        if matches and matches[0].index is not None and not indices:
            living = [job for job in matches if job.live]
            if living:
                err += f"Job <{number}>: Operation is in progress\n"
                _one_by_one(cluster, living, call.uid)
            else:
                err += f"Job <{number}>: Job has already finished\n"
            continue
        for index in indices or [None]:
            matching = words.find(cluster, number, [] if index is None else [index])
            shown = word if index is None else f"{number}[{index}]"
            if not matching:
                err += f"Job <{shown}>: No matching job found\n"
            elif not matching[0].live:
                err += f"Job <{shown}>: Job has already finished\n"
            else:
                cluster.cancel(matching, call.uid)
                out += f"Job <{shown}> is being terminated\n"
    return Answer(255 if err else 0, out=out, err=err)


def _one_by_one(cluster: Cluster, living: list[Job], user: int) -> None:
    cluster.cancel([job for job in living if job.state != RUNNING], user)
    running = [job for job in living if job.state == RUNNING]

    def end(job: Job) -> None:
        cluster.cancel([job], user)

    for place, job in enumerate(running, 1):
        cluster.after(place * PAUSE / cluster.settings.speed, lambda target=job: end(target))
