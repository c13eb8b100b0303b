"""qdel, qhold, qrls and qalter: what is done to jobs by their ids."""

from __future__ import annotations

import getopt
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..engine.cluster import Cluster
from ..engine.model import RUNNING
from ..engine.server import Answer, Call
from . import ids, words
from .ids import Found
from .qsub import Refused, depend, good, over

Act = Callable[[Cluster, Found, int], None]


def qdel(cluster: Cluster, call: Call, fault: dict[str, Any] | None) -> Answer:
    return _each(cluster, call, fault, "W:x", _delete)


def qhold(cluster: Cluster, call: Call, fault: dict[str, Any] | None) -> Answer:
    def act(cluster: Cluster, target: Found, uid: int) -> None:
        for job in target.jobs:
            if job.live and job.state != RUNNING:
                cluster.hold(job)

    return _each(cluster, call, fault, "h:", act)


def qrls(cluster: Cluster, call: Call, fault: dict[str, Any] | None) -> Answer:
    def act(cluster: Cluster, target: Found, uid: int) -> None:
        for job in target.jobs:
            cluster.release(job)

    return _each(cluster, call, fault, "h:", act)


def qalter(cluster: Cluster, call: Call, fault: dict[str, Any] | None) -> Answer:
    """Only dependencies can be altered."""
    if len(call.arguments) < 3 or call.arguments[0] != "-W":
        return Answer(2, err="qalter: the simulator alters -W depend= only\n")
    _, text, *call.arguments = call.arguments
    try:
        dependencies = depend(text.removeprefix("depend="))
    except Refused as error:
        return Answer(error.code, err=error.text.replace("qsub", "qalter"))

    def act(cluster: Cluster, target: Found, uid: int) -> None:
        lost = [dependency for dependency in dependencies if not good(cluster, dependency)]
        for job in list(target.jobs):
            job.dependencies = [
                replace(dependency) for dependency in dependencies if not over(cluster, dependency)
            ]
            if lost:
                cluster.drop(job)
            else:
                cluster.release(job)

    return _each(cluster, call, fault, "", act)


def _delete(cluster: Cluster, target: Found, uid: int) -> None:
    cluster.cancel([job for job in target.jobs if job.live], uid)


def _each(
    cluster: Cluster, call: Call, fault: dict[str, Any] | None, letters: str, act: Act
) -> Answer:
    if call.arguments == ["--version"]:
        return Answer(out=f"pbs_version = {words.VERSION}\n")
    usage = (
        "usage:\n\tqdel [-W force|suppress_email=X] [-x] job_identifier...\n\tqdel --version\n"
        if call.command == "qdel"
        else f"usage: {call.command} [-h hold_list] job_identifier...\n"
    )
    try:
        _, targets = getopt.getopt(call.arguments, letters)
    except getopt.GetoptError as error:
        return Answer(2, err=f"{call.command}: invalid option -- '{error.opt[:1]}'\n{usage}")
    if not targets:
        return Answer(2, err=usage)
    settings = cluster.settings
    if settings.controller == "down":
        return words.down(call.command, settings)
    if fault and fault["how"] != "after":
        return words.silent(call.command, settings)
    code, errors = 0, ""
    for word in targets:
        full = ids.full(word)
        if full is None:
            code = 1
            errors += f"{call.command}: illegally formed job identifier: {word}\n"
            continue
        target = ids.find(cluster, word)
        if target is None:
            code, errors = 153, f"{errors}{call.command}: Unknown Job Id {full}\n"
        elif target.over or not any(job.live for job in target.jobs):
            code, errors = 35, f"{errors}{call.command}: Job has finished {full}\n"
        elif call.uid not in (0, target.group[0].request.uid):
            code, errors = 159, f"{errors}{call.command}: Unauthorized Request  {full}\n"
        else:
            act(cluster, target, call.uid)
    if fault:
        return words.silent(call.command, settings)
    return Answer(code, err=errors)
