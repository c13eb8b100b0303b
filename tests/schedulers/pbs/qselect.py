"""qselect: lists the ids of jobs."""

from __future__ import annotations

import getopt
from typing import Any

from ..engine import model
from ..engine.cluster import Cluster
from ..engine.server import Answer, Call
from . import ids, words
from .qstat import state

USAGE = """\
usage: qselect [-a [op]date_time] [-A account_string] [-c [op]interval]
	[-h hold_list] [-H] [-J] [-l resource_list] [-N name] [-p [op]priority]
	[-q destination] [-r y|n] [-s states] [-t subopt[op]date_time] [-T] [-P project_name]
	[-x] [-u user_name]
       qselect --version
"""


def qselect(cluster: Cluster, call: Call, fault: dict[str, Any] | None) -> Answer:
    if call.arguments == ["--version"]:
        return Answer(out=f"pbs_version = {words.VERSION}\n")
    try:
        options, operands = getopt.getopt(call.arguments, "a:A:c:h:HJl:N:p:q:r:s:t:TP:xu:")
    except getopt.GetoptError as error:
        text = f"qselect: option requires an argument -- '{error.opt}'"
        if "requires" not in error.msg:
            text = f"qselect: invalid option -- '{error.opt[:1]}'"
        return Answer(2, err=f"{text}\n{USAGE}")
    if operands:
        return Answer(2, err=USAGE)
    flags = dict(options)
    settings = cluster.settings
    if settings.controller == "down":
        return words.down("qselect", settings)
    if fault:
        return words.silent("qselect", settings)
    history = bool({"-x", "-H"} & flags.keys())
    if history and settings.accounting == "off":
        return Answer(err=f"qselect: {words.HISTORY} \n")
    lines = []
    for group in cluster.jobs.values():
        first = group[0]
        target = ids.find(cluster, ids.id_of(first, whole=True))
        if (
            target is None
            or (target.over and not history)
            or ("-H" in flags and not target.over)
            or flags.get("-u", first.request.user) != first.request.user
            or flags.get("-N", first.request.name) != first.request.name
            or ("-T" not in flags and state(target) not in flags.get("-s", "QRHWEBSTUXFM"))
        ):
            continue
        lines.append(ids.id_of(first, whole=True))
        if "-T" in flags and target.array:
            states = flags.get("-s", "")
            lines += [
                ids.id_of(job)
                for job in group
                if not states or (_letter(job) in states)
            ]
    return Answer(out="".join(f"{line}\n" for line in lines))


def _letter(job: model.Job) -> str:
    return "X" if job.state == model.ENDED else words.state(job)[0]
