"""Requests as `bsub` wants them; pure. IBM Spectrum LSF 10.1 command reference, "bsub"."""

from __future__ import annotations

import math
import re
import shlex
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from reflow.errors import SubmissionRefusedError
from reflow.executors import options
from reflow.executors.base import JobRequest
from reflow.executors.parsing import Report

if TYPE_CHECKING:
    from .executor import LSFExecutor

UNITS = {"KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}
"""What LSF_UNIT_FOR_LIMITS may be, in bytes."""

RESERVED = frozenset({
    "b", "e", "eo", "env_file", "H", "h", "I", "Ip", "IS", "ISp", "ISs", "Is", "IX", "J", "Jd",
    "jsdl", "jsdl_strict", "json", "K", "k", "L", "o", "oo", "outdir", "pack", "r", "rn", "tty",
    "V", "w", "XF", "Zs",
})  # fmt: skip
"""Options that reflow sets itself: another value would break what the engine relies on."""

SHORT_ONLY = frozenset({"sp"})
"""The one option of OpenLava's bsub with more than one letter that is not misread."""

SOON = 20.0
"""Seconds in which bsub has surely read a begin time, which would lie a year ahead after that."""

OWN = "REFLOW_JOB_ID"
"""The variable that tells a job, or an element of an array, from all others."""

NAME_LENGTH = 200
"""Characters of a name that OpenLava takes for sure; the end of a tag tells it from others."""

def arguments(request: JobRequest, executor: LSFExecutor, now: float) -> list[str]:
    """Return the options and the command line that `bsub` is called with.

    An option is taken from the first that names it: the task's native options, what the
    task asks for, the executor's options, its other settings. `now` is the time in
    seconds, from which the begin time follows. Raises `SubmissionRefusedError` for a native
    option that reflow sets itself, and for what this LSF would misread.
    """
    # A file of LSF's own would begin with a report, and without one it sends mail ("-o"; seen).
    flags = {"J": array(request), "o": "/dev/null"}
    if not executor.openlava:
        flags["rn"] = ""  # a second start of LSF's own is one that the engine has not counted
    if request.after or request.after_each:
        flags["w"] = dependency(request)
    if request.begin:
        flags["b"] = begin_time(now + max(request.begin, SOON))
    flags |= options.only_set(q=executor.queue, P=executor.account)
    wants: dict[str, str] = {}
    for layer in (
        native(executor.options, executor.openlava),
        requested(request, executor),
        native(request.resources.native, executor.openlava),
    ):
        wants |= sections(layer.pop("R", ""))
        flags |= layer
    if any(wants.values()):  # a selection comes first
        wants = {"select": wants.pop("select", ""), **wants}
        flags["R"] = " ".join(filter(None, wants.values()))
    return [*options.short_flags(flags), command_line(request)]


def requested(request: JobRequest, executor: LSFExecutor) -> dict[str, str]:
    """Return what a task asks for in neutral words; what it leaves open is not there."""
    wants = request.resources
    if wants.gpus and executor.openlava:
        raise SubmissionRefusedError(
            f"job {request.name!r} asks for {wants.gpus} GPUs, but OpenLava's bsub has no "
            "-gpu: leave gpus out, and name the site's resource in the option R"
        )
    # Where the site has set no unit, limits are in KB and reservations in MB (lsf.conf).
    limits, reservations = (UNITS[executor.memory_unit or default] for default in ("KB", "MB"))
    span = "span[hosts=1]" if wants.nodes == 1 else f"span[ptile={wants.cpus}]"
    reserved = options.written(wants.mem, lambda size: str(options.whole_units(size, reservations)))
    slots = wants.cpus * wants.nodes
    needed = [span if slots > 1 else "", f"rusage[mem={reserved}]" if reserved else ""]
    return options.only_set(
        n=options.written(slots, default=1),
        W=options.written(wants.time, lambda time: str(options.whole_units(time, 60))),  # minutes
        M=options.written(wants.mem, lambda size: str(options.whole_units(size, limits))),
        gpu=options.written(wants.gpus, "num={}".format, default=0),
        R=" ".join(filter(None, needed)),
        q=wants.queue,
        P=wants.account,
    )


def sections(text: str) -> dict[str, str]:
    """Return the parts of a resource requirement; what names no part is a selection.

    >>> sections("type==any rusage[mem=7]")
    {'select': 'select[type==any]', 'rusage': 'rusage[mem=7]'}
    """
    if "{" in text:  # several alternatives, or one for each kind of slot: taken whole
        return dict.fromkeys(("select", "rusage", "span"), "") | {"all": text}
    bare = re.split(r"[a-z]+\[", text)[0].strip()
    selection = {"select": f"select[{bare}]"} if bare else {}
    return selection | {part.split("[")[0]: part for part in re.findall(r"[a-z]+\[[^\]]*\]", text)}


def array(request: JobRequest) -> str:
    """Return the job's name with its positions, which LSF counts from 1."""
    name = job_name(request.tag)
    throttle = f"%{request.throttle}" if request.throttle else ""
    return f"{name}[1-{request.size}]{throttle}" if request.size > 1 else name


def job_name(tag: str) -> str:
    """Return a tag as a job name that bjobs can be asked for."""
    return options.job_name(tag)[-NAME_LENGTH:]


def dependency(request: JobRequest) -> str:
    """Return what a job waits for; "ended", so that a failure never leaves it waiting."""
    # bsub, "-w": [*] of an array of the same size.
    twin = f"{request.after_each}{'[*]' if request.size > 1 else ''}" if request.after_each else ""
    return " && ".join(f"ended({job})" for job in (twin, *request.after) if job)


def begin_time(when: float) -> str:
    """Write a time as ``month:day:hour:minute``, never early."""
    return time.strftime("%m:%d:%H:%M", time.localtime(math.ceil(when / 60) * 60))


def command_line(request: JobRequest) -> str:
    """Return the shell's line that runs the script, in its directory and into its log."""
    # A log is named as the scheduler counts, which is from 1.
    position = '"$LSB_JOBINDEX"' if request.size > 1 else "0"
    log = position.join(shlex.quote(part) for part in request.log.split("{position}"))
    directory, script = shlex.quote(request.directory), shlex.quote(request.script)
    # LSF has no variable of its own that tells an element from all others.
    return f"{{ cd {directory} && {OWN}=$LSB_JOBID.$LSB_JOBINDEX {script}; }} >>{log} 2>&1"


def native(chosen: Mapping[str, str], openlava: bool = False) -> dict[str, str]:
    """Return a user's own options without their dash; an empty value is a flag.

    >>> native({"-app": "big", "x": ""})
    {'app': 'big', 'x': ''}
    """
    flags = options.user_options(chosen, "bsub", reserved=RESERVED, read=str)
    for name in flags:
        if openlava and len(name) > 1 and name not in SHORT_ONLY:
            raise SubmissionRefusedError(
                f"OpenLava's bsub has no option {name!r}, and would misread it: leave it out"
            )
    return flags


def elements(reports: Iterable[Report]) -> list[str]:
    """Return jobs and elements as LSF's commands are given them: ``5[1-3,7]``, ``6``."""
    jobs: dict[str, list[int]] = {}
    for report in reports:
        jobs.setdefault(report.job, []).extend(at + 1 for at in report.positions or ())
    words = []
    for job, indices in jobs.items():
        parts = options.write_ranges(indices)
        words += [f"{job}[{','.join(parts[at : at + 100])}]" for at in range(0, len(parts), 100)]
        words += [] if parts else [job]
    return words
