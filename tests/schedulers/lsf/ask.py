"""bjobs, bhist and bparams: they show jobs and the cluster's settings."""

from __future__ import annotations

import fnmatch
import pwd
import time
from typing import Any

from ..engine import model
from ..engine.cluster import Cluster
from ..engine.model import Job
from ..engine.server import Answer, Call
from . import jobs, words
from .jobs import HOST, moment
from .words import Usage

USAGE = (
    "Usage: bjobs [-h] [-V] [-w |-l] [-W] [-a] [-d] [-p] [-s] [-r] [-g job_group]\n"
    "             [-A] [-m host_name] [-q queue_name] [-u user_name | -u all]\n"
    "             [-P project_name] [-N host_spec] [-J name_spec] [-UF] [-WL|-WP|-WF] "
    '[-noheader]\n             [jobId | "jobId[idxList]" ...]\n'
)
HEADER = "JOBID   USER    STAT  QUEUE      FROM_HOST   EXEC_HOST   JOB_NAME   SUBMIT_TIME\n"
SUMMARY = "JOBID    ARRAY_SPEC  OWNER   NJOBS PEND DONE  RUN EXIT SSUSP USUSP PSUSP\n"
LINE = "-" * 78 + "\n"
REASONS = {
    model.NONE: "New job is waiting for scheduling",
    model.HELD: "The job was suspended by the user while pending",
    model.BEGIN: "The job has a specified start time",
    model.DEPENDENCY: "Job dependency condition not satisfied",
    model.NEVER: "Dependency condition invalid or never satisfied",
    model.THROTTLE: "The job array has reached its job slot limit",
    model.PRIORITY: "Not enough job slot(s)",
    model.RESOURCES: "Not enough job slot(s)",
}


def bjobs(cluster: Cluster, call: Call, fault: dict[str, Any] | None) -> Answer:
    try:
        flags, operands = words.options(
            call.arguments, "h V w l W a d p s r g: A m: q: u: P: N: J: UF WL WP WF noheader"
        )
    except Usage as error:
        return Answer(255, err=f"bjobs: invalid option -- '{error}'\n{USAGE}")
    if call.arguments.count("-J") > 1:
        return Answer(255, err=USAGE)
    if "V" in flags:
        return Answer(err=words.VERSION)
    for word in operands:
        if words.ids(word) is None:
            return Answer(255, err=f"{word}: Illegal job ID.\n")
    answer = words.down(cluster, call, fault)
    if answer is not None:
        return answer
    user = flags.get("u", pwd.getpwuid(call.uid).pw_name)
    selected: list[Job] = []
    err = ""
    for word in dict.fromkeys(operands):
        number, indices = words.ids(word) or (0, [])
        matches = words.find(cluster, number, indices)
        missing = [index for index in indices if index not in {job.index for job in matches}]
        for index in missing:
            err += f"Job <{number}[{index}]> is not found\n"
        if not matches and not indices:
            err += f"Job <{word}> is not found\n"
        selected += [job for job in matches if job not in selected]
    if not operands:
        selected = [
            job for job in cluster.remembered()
            if user in ("all", job.request.user)
            and (job.live or "a" in flags or "d" in flags)
            and ("d" not in flags or not job.live)
            and ("J" not in flags or fnmatch.fnmatchcase(job.request.name, flags["J"]))
            and ("q" not in flags or job.request.partition == flags["q"])
        ]  # fmt: skip
    if "p" in flags and "a" not in flags:
        selected = [job for job in selected if job.state == model.PENDING]
        if not selected and not err:
            err = "No pending job found\n"
    # Ended jobs come in the order of their ends, the latest first.
    selected.sort(key=lambda job: (not job.live, -job.ended, job.base, job.index or 0))
    if not selected:
        kind = "" if "a" in flags else "finished " if "d" in flags else "unfinished "
        missing_name = f"Job <{flags['J']}> is not found\n" if "J" in flags else ""
        return Answer(255, err=err or missing_name or f"No {kind}job found\n")
    if "UF" in flags and any("%" in job.request.extra["command"] for job in selected):
        return Answer(139)  # it uses the command as a format string
    if "l" in flags or "UF" in flags:
        out = LINE.join(_long(job, unwrapped="UF" in flags) for job in selected)
    elif "A" in flags:
        out = SUMMARY + "".join(_summary(cluster, number) for number in {j.base for j in selected})
    else:
        out = "" if "noheader" in flags else HEADER
        out += "".join(_row(job, wide="w" in flags, reasons="p" in flags) for job in selected)
    return Answer(255 if err else 0, out=out, err=err)


def _row(job: Job, *, wide: bool, reasons: bool) -> str:
    request, state = job.request, jobs.state(job)
    submitted = time.strftime("%b %e %H:%M", time.localtime(job.submitted))
    shown = jobs.name(job)
    if wide:
        host = ":".join([HOST] * request.tasks) if job.started else "   -   "
        if state in ("PEND", "PSUSP"):
            host = "   -    "
        row = (
            f"{job.base:<7} {request.user:<7} {state:<5.5} {request.partition:<10} {HOST:<11} "
            f"{host:<11} {shown:<10} {submitted}\n"
        )
    else:
        host = HOST if job.started else ""
        shown = shown if len(shown) <= 10 else f"*{shown[-9:]}"
        row = (
            f"{job.base:<7} {request.user:<7.7} {state:<5.5} {request.partition:<10.10} "
            f"{HOST:<11.11} {host:<11.11} {shown:<10.10} {submitted:<14.14}\n"
        )
    if reasons and job.state == model.PENDING:
        row += f" {REASONS[model.HELD if job.held else job.reason]}: 1 host;\n"
    return row


def _summary(cluster: Cluster, number: int) -> str:
    members = words.find(cluster, number, [])
    counts = [jobs.state(member) for member in members]
    numbers = [len(members), *(counts.count(state) for state in ("PEND", "DONE", "RUN", "EXIT"))]
    spec, user = members[0].request.extra["spec"], members[0].request.user
    return (
        f"{number:<7}  {spec:<8.8} {user:>8.8}   {numbers[0]:5} {numbers[1]:4} {numbers[2]:4} "
        f"{numbers[3]:4} {numbers[4]:4} {0:5} {0:5} {counts.count('PSUSP'):5}\n"
    )


def _wrapped(line: str) -> str:
    """Break a line of a long form at 80 columns, the rest behind 21 blanks."""
    parts = [line[:80]] + [line[at : at + 59] for at in range(80, len(line), 59)]
    return f"\n{'':21}".join(parts) + "\n"


def _long(job: Job, *, unwrapped: bool = False, history: bool = False) -> str:
    request = job.request
    command = request.extra["command"].replace("\n", ";")
    named = "" if request.extra["spec"] == request.extra["command"] else (
        f" Job Name <{jobs.name(job)}>,"
    )  # fmt: skip
    state = "" if history else f" Status <{jobs.state(job)}>, Queue <{request.partition}>,"
    lines = [
        f"Job{'' if unwrapped else ' Id'} <{jobs.identity(job)}>,{named} User <{request.user}>, "
        f"Project <{request.extra['project']}>,{state} Command <{command}>",
        f"{moment(job.submitted)}: Submitted from host <{HOST}>"
        f"{' on hold' if request.held else ''}"
        f"{f' to Queue <{request.partition}>' if history else ''}, "
        f"CWD <{request.extra['directory']}>, Output File <{request.extra['output']}>;",
    ]
    if job.started:
        start = f"Dispatched to <{HOST}>;"
        if not history:
            start = "Started on" if job.index is None else f"[{job.index}] started on"
            start += f" <{HOST}>, Execution Home </>, Execution CWD </>;"
        lines.append(f"{moment(job.started)}: {start}")
    if history and job.cancelled_by is not None:
        who = pwd.getpwuid(job.cancelled_by).pw_name
        lines.append(
            f"{moment(job.ended)}: Signal <KILL> requested by user or administrator <{who}>;"
        )
    if jobs.ending(job):
        used = " The CPU time used is 0.0 seconds." if job.started else ""
        lines.append(f"{moment(job.ended)}: {jobs.ending(job)}{used}")
    if job.state == model.PENDING and not history:
        reason = REASONS[model.HELD if job.held else job.reason]
        lines.append(f" PENDING REASONS:\n {reason}: 1 host;")
    return "\n" + "".join(f"{line}\n" if unwrapped else _wrapped(line) for line in lines) + "\n"


def bhist(cluster: Cluster, call: Call, fault: dict[str, Any] | None) -> Answer:
    """Show all jobs that ever existed."""
    try:
        flags, operands = words.options(call.arguments, "h V l a w n: J: u:")
    except Usage as error:
        return Answer(255, err=f"bhist: invalid option -- '{error}'\n")
    if "V" in flags:
        return Answer(err=words.VERSION)
    answer = words.down(cluster, call, fault)
    if answer is not None:
        return answer
    selected: list[Job] = []
    for word in operands:
        read = words.ids(word)
        if read is None:
            return Answer(255, err=f"{word}: Illegal job ID.\n")
        selected += words.find(cluster, *read, past=True)
    if not selected:
        return Answer(255, out="No matching job found\n")
    if "l" in flags:
        return Answer(out=LINE.join(_long(job, history=True) for job in selected))
    head = (
        "Summary of time in seconds spent in various states:\n"
        "JOBID   USER    JOB_NAME  PEND    PSUSP   RUN     USUSP   SSUSP   UNKWN   TOTAL\n"
    )
    rows = [
        f"{jobs.identity(job):<7} {job.request.user:<7.7} {jobs.name(job):<9.9} 0       0       "
        "0       0       0       0       0         \n"
        for job in selected
    ]
    return Answer(out=head + "".join(rows))


def bparams(cluster: Cluster, call: Call, fault: dict[str, Any] | None) -> Answer:
    """Show the settings of the cluster."""
    answer = words.down(cluster, call, fault)
    if answer is not None:
        return answer
    size = cluster.settings.max_array_size
    return Answer(
        out="The maximum number of jobs in a job array:\n"
        f"    MAX_JOB_ARRAY_SIZE = {size}\n\n"
        if "-l" in call.arguments
        else "Default Queues:  normal\n"
    )
