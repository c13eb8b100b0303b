"""flux cancel, and the parts of flux job that change or forget jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..engine.cluster import Cluster
from ..engine.server import Answer, Call
from . import ids
from .commands import Parser, Refused, own, timed_out, unreachable

ABORTS = 1000
"""Ids with which the command aborts when it has done its work."""


def cancel(cluster: Cluster, call: Call, fault: Mapping[str, Any] | None) -> Answer:
    parser = Parser("flux-cancel", "flux cancel [OPTIONS] [JOBID...]")
    parser.prog = "flux cancel"
    parser.add_argument("--all", action="store_true")
    parser.add_argument("-m", "--message", default="")
    parser.add_argument("jobids", nargs="*")
    try:
        arguments = parser.parse_args(call.arguments[1:])
        for job_id in arguments.jobids:
            if ids.read(job_id) is None:
                parser.prog = "flux-cancel"
                text = f"argument JOBID...: invalid JobID value: '{job_id}'"
                raise Refused(f"usage: {parser.usage}\nflux-cancel: error: {text}\n", 2)
    except Refused as error:
        return Answer(error.code, err=error.text)
    answer = unreachable(cluster.settings, "cancel", fault)
    if answer is not None:
        return answer
    if arguments.all:
        live = [job for job in own(cluster, call) if job.live]
        cluster.cancel(live, call.uid)
        many = "" if len(live) == 1 else "s"
        text = f"Canceled {len(live)} job{many} (0 errors)" if live else "Matched 0 jobs"
        return Answer(err=f"flux-cancel: {text}\n")
    if not arguments.jobids:
        return Answer(1, err="flux-cancel: ERROR: No target jobs were provided\n")
    err = ""
    for job_id in arguments.jobids:
        number = ids.read(job_id) or 0
        jobs = [job for job in cluster.find(ids.number(number)) if not job.purged]
        if jobs and jobs[0].live:
            jobs[0].request.extra["note"] = arguments.message
            cluster.cancel(jobs, call.uid)
        else:
            shown = ids.f58(number, letter=ids.letter(call.environment))
            why = "job is inactive" if jobs else "unknown job id"
            err += f"flux-cancel: ERROR: {shown}: {why}\n"
    if fault:
        return timed_out(cluster.settings, "cancel")
    if len(arguments.jobids) >= ABORTS:
        return Answer(134, err="libev: I/O watcher with invalid fd found in epoll_ctl\n")
    return Answer(1 if err else 0, err=err)


def job(cluster: Cluster, call: Call, fault: Mapping[str, Any] | None) -> Answer:
    answer = unreachable(cluster.settings, "job", fault)
    if answer is not None:
        return answer
    match call.arguments[1:]:
        case ["purge", "--force", "--num-limit=0"]:
            gone = [job for job in cluster.remembered() if not job.live]
            for job in gone:
                job.purged = True
            remaining = len(list(cluster.remembered()))
            return Answer(out=f"purged {len(gone)} inactive jobs, {remaining} remaining\n")
        case ["urgency", target, value]:
            for job in cluster.find(ids.number(ids.read(target) or 0)):
                value = {"hold": "0", "default": "16"}.get(value, value)
                job.request.extra["urgency"] = value
                (cluster.hold if value == "0" else cluster.release)(job)
            return Answer()
        case ["id", form, target] if form.startswith("--to="):
            number = ids.read(target)
            if number is None:
                return Answer(1, err=f"flux-job: {target}: invalid job id\n")
            words = {"dec": str(number), "f58plain": ids.f58(number), "hex": hex(number)}
            return Answer(out=f"{words[form[5:]]}\n")
    return Answer(1, err="flux-job: no such command in this simulator\n")
