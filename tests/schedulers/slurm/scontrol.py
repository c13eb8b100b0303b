"""scontrol: shows a job and the configuration, holds, releases, requeues, changes."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any

from ..engine.cluster import Cluster
from ..engine.model import ENDED, PENDING, Job
from ..engine.server import Answer, Call
from . import getopt, ids, words
from .getopt import BadOption, parse
from .ids import Shown
from .jobs import log_path

SHORT = {
    "a": "all", "d": "details", "F": "future", "h": "help", "M": "clusters", "o": "oneliner",
    "Q": "quiet", "u": "uid", "v": "verbose", "V": "version",
}  # fmt: skip
LONG = getopt.options(
    yes=("clusters uid cluster"),
    no=(
        "all details future help hide oneliner quiet verbose version federation local sibling usage"
    ),
)
INVALID = "Invalid job id specified"


def scontrol(cluster: Cluster, call: Call, fault: dict[str, Any] | None) -> Answer:
    try:
        options, command = parse("scontrol", call.arguments, SHORT, LONG, anywhere=True)
    except BadOption as error:
        return Answer(1, err=f'{error}\nTry "scontrol --help" for more information\n')
    flags = dict(options)
    if "version" in flags:
        return Answer(out="slurm-wlm 22.05.8\n")
    if not command:
        return Answer()
    settings = cluster.settings
    verb, operands = command[0], command[1:]
    host = socket.gethostname().partition(".")[0]
    if verb == "ping":
        down = settings.controller == "down"
        return Answer(
            1 if down else 0,
            out=f"Slurmctld(primary) at {host} is {'DOWN' if down else 'UP'}\n",
            pause=settings.message_timeout if down else 0.0,
        )
    if verb not in ("show", "hold", "release", "requeue", "update"):
        return Answer(1, err=f"invalid keyword: {verb}\n")
    if settings.controller == "down":
        # scontrol asks the controller twice.
        text = f"slurm_load_jobs error: {words.CONTACT}\n"
        return Answer(1, err=text, pause=2 * settings.message_timeout)
    if fault:
        pause = 0.0 if fault["how"] == "refuse" else settings.message_timeout
        text = fault.get("text", words.TIMED_OUT)
        return Answer(1, err=f"slurm_load_jobs error: {text}\n", pause=pause)
    if verb == "show":
        return _show(cluster, operands, "oneliner" in flags)
    if verb == "update":
        return _update(cluster, operands)
    actions: dict[str, Callable[[Job], None]] = {
        "hold": cluster.hold, "release": cluster.release, "requeue": cluster.requeue,
    }  # fmt: skip
    for word in ",".join(operands).split(","):
        parsed = ids.parse(word)
        jobs = ids.chosen(cluster, *parsed) if parsed else []
        if not jobs:
            if parsed and parsed[1]:
                return Answer(1, err=f"{word}: {INVALID}\n")
            again = f"slurm_suspend error: {INVALID}\n" if verb != "requeue" else ""
            return Answer(1, err=f"{INVALID} for job {word}\n{again}")
        for job in jobs:
            if verb == "requeue" and not job.request.requeue:
                return Answer(1, err=f"Requested operation is presently disabled for job {word}\n")
            if verb == "requeue" and job.state == PENDING:
                return Answer(1, err=f"Job is pending execution for job {word}\n")
            if verb != "requeue" and job.state == ENDED:
                if len(jobs) == 1:
                    again = "slurm_suspend error: Job has already finished\n"
                    return Answer(1, err=f"Job has already finished for job {word}\n{again}")
                continue
            actions[verb](job)
    return Answer()


def _show(cluster: Cluster, operands: list[str], one_line: bool) -> Answer:
    what = operands[0].lower() if operands else ""
    if what == "config":
        return Answer(out=_config(cluster))
    if what not in ("job", "jobs"):
        return Answer(
            1, err=f"invalid entity:{operands[0] if operands else ''} for keyword:show \n"
        )
    jobs = list(cluster.remembered())
    split = False
    if len(operands) > 1:
        parsed = ids.parse(operands[1])
        if parsed is None:
            return Answer(1, err=f"scontrol_print_job error: {INVALID}\n")
        jobs = ids.chosen(cluster, *parsed)
        split = bool(parsed[1])
        if not jobs:
            return Answer(1, err=f"slurm_load_jobs error: {INVALID}\n")
    text = ""
    for row in ids.rows(jobs, split=split):
        lines = _job(row)
        text += " ".join(lines) + " \n" if one_line else "\n   ".join(lines) + "\n   \n\n"
    return Answer(out=text or "No jobs in the system\n")


def _job(row: Shown) -> list[str]:
    job, request = row.job, row.job.request
    array = ""
    if job.index is not None:
        array = f" ArrayJobId={job.base} ArrayTaskId={row.indices}"
        array += f" ArrayTaskThrottle={request.throttle}" if request.throttle else ""
    names = [node.name for node in job.nodes]
    ran = (job.ended or time.time()) - job.started if job.started else 0
    start = job.started or job.begin or (job.ended if job.cancelled_by is not None else 0)
    planned = start + job.limit if start and not job.ended else job.ended
    cpus = request.cpus * request.tasks
    output = log_path(job, request.output)
    return [
        f"JobId={job.own}{array} JobName={request.name}",
        f"UserId={request.user}({request.uid}) GroupId={request.user}({request.gid}) MCS_label=N/A",
        f"Priority={0 if job.held else 4294901760 - job.base} Nice=0 Account={request.account} "
        "QOS=normal",
        f"JobState={words.state(job)[0]} Reason={words.REASONS[job.reason]} "
        f"Dependency={words.dependency(job)}",
        f"Requeue={int(request.requeue)} Restarts={job.restarts} BatchFlag=1 Reboot=0 "
        f"ExitCode={words.exit_code(job.status, job.outcome)}",
        f"RunTime={words.span(ran)} TimeLimit={words.span(job.limit)} TimeMin=N/A",
        f"SubmitTime={words.moment(job.submitted)} EligibleTime={words.moment(job.eligible)}",
        f"AccrueTime={words.moment(job.eligible)}",
        f"StartTime={words.moment(start)} EndTime={words.moment(planned)} Deadline=N/A",
        f"SuspendTime=None SecsPreSuspend=0 LastSchedEval={words.moment(job.submitted)} "
        "Scheduler=Main",
        f"Partition={request.partition} AllocNode:Sid=localhost:1",
        "ReqNodeList=(null) ExcNodeList=(null)",
        f"NodeList={words.hosts(names)}",
        *([f"BatchHost={names[0]}"] if names else []),
        f"NumNodes={request.nodes} NumCPUs={cpus} NumTasks={request.tasks} "
        f"CPUs/Task={request.cpus} ReqB:S:C:T=0:0:*:*",
        f"TRES=cpu={cpus},mem={words.size(job.memory)},node={request.nodes},billing={cpus}",
        "Socks/Node=* NtasksPerN:B:S:C=0:0:*:* CoreSpec=*",
        f"MinCPUsNode={request.cpus} MinMemoryNode={words.size(job.memory)} MinTmpDiskNode=0",
        "Features=(null) DelayBoot=00:00:00",
        "OverSubscribe=OK Contiguous=0 Licenses=(null) Network=(null)",
        f"Command={request.extra['command'] or '(null)'}",
        f"WorkDir={request.directory}",
        *([f"Comment={request.comment} "] if request.comment else []),
        f"StdErr={log_path(job, request.error) if request.error else output}",
        f"StdIn={request.input}",
        f"StdOut={output}",
        "Power=",
    ]


def _update(cluster: Cluster, assignments: list[str]) -> Answer:
    flags = {}
    for word in assignments:
        name, _, value = word.partition("=")
        flags[name.lower()] = value
    target = next((flags.pop(name) for name in ("jobid", "job") if name in flags), "")
    parsed = ids.parse(target)
    jobs = ids.chosen(cluster, *parsed) if parsed else []
    if not set(flags) <= {"timelimit", "starttime", "comment", "jobname"}:
        bad = next(word for word in assignments if word.partition("=")[0].lower() in flags)
        return Answer(1, err=f"Update of this parameter is not supported: {bad}\nRequest aborted\n")
    if not jobs:
        return Answer(1, err=f"{INVALID} for job {target}\n")
    if all(job.state == ENDED for job in jobs):
        return Answer(1, err=f"Job has already finished for job {target}\n")
    for job in jobs:
        if "timelimit" in flags:
            limit = words.time_limit(flags["timelimit"])
            if limit is None:
                return Answer(1, err="Invalid TimeLimit value\n")
            # Held jobs may get any limit within the partition's; others may only lower theirs.
            most = cluster.partitions[job.request.partition].limit
            if limit > job.limit and (limit > most or not job.held):
                return Answer(1, err=f"Access/permission denied for job {target}\n")
            cluster.set_limit(job, limit)
        if "starttime" in flags:
            when = words.point(flags["starttime"])
            if when is None:
                return Answer(1, err=f"Invalid time specification (pos=0): {flags['starttime']}\n")
            job.begin = when if when > time.time() else 0.0
            delay = max(0.0, when - time.time()) / cluster.settings.speed
            job.begin_due = time.monotonic() + delay
            cluster.after(delay, cluster.schedule)
        job.request.comment = flags.get("comment", job.request.comment)
    return Answer()


def _config(cluster: Cluster) -> str:
    settings = cluster.settings
    storage = "none" if settings.accounting == "off" else "slurmdbd"
    lines = {
        "AccountingStorageEnforce": "associations,limits",
        "AccountingStorageType": f"accounting_storage/{storage}", "ClusterName": "reflow",
        "DefMemPerCPU": settings.default_memory, "EnforcePartLimits": "NO",
        "KillWait": "2 sec", "MaxArraySize": settings.max_array_size, "MaxJobCount": 20000,
        "MessageTimeout": "10 sec", "MinJobAge": f"{settings.min_job_age:.0f} sec",
        "NEXT_JOB_ID": cluster.next_number, "SLURM_VERSION": "22.05.8",
    }  # fmt: skip
    text = "".join(f"{name:<23} = {value}\n" for name, value in lines.items())
    return f"Configuration data as of {words.moment(time.time())}\n{text}\n"
