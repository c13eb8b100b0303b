"""Requests as `qsub` wants them; pure. Manual page: qsub(1B) of OpenPBS 23.06, of Torque 6.1."""

from __future__ import annotations

import hashlib
import math
import re
import time
from collections.abc import Iterable, Mapping

from reflow.errors import SubmissionRefusedError
from reflow.executors.base import JobRequest
from reflow.executors.options import index_range, log_path

from . import torque

OURS = frozenset("aCefhIJjNoRrtXz") | {"block", "depend", "interactive", "max_run_subjobs"}
"""Options that reflow sets itself: another value would break what the engine relies on."""
ATTRIBUTES = {"create_resv_from_job", "group_list", "pwd", "release_nodes_on_stageout", "run_count",
              "sandbox", "stagein", "stageout", "tolerate_node_failures", "umask"}  # fmt: skip
"""Names that belong to -W; other long names are resources, of -l."""
CHUNK = ("ncpus", "mem", "ngpus", "mpiprocs", "ompthreads")
"""Resources of a chunk, which qsub takes within select= only."""
WHOLE = ("select", "nodes")
"""What says all of the chunks at once, in the new and in the old form."""
CHUNKS = "chunks"  # how many: no word of PBS
MAX_NAME = 230
INDEX = "^array_index^"
"""What PBS replaces in the path of a log."""

_NAME = re.compile(r"[^A-Za-z0-9_.+-]")


def arguments(
    request: JobRequest, layers: Iterable[Mapping[str, str]], now: float, on_torque: bool = False
) -> list[str]:
    """Return the options and the script that `qsub` is called with at the time `now`.

    An option is taken from the first that names it: the task's native options, what the
    task asks for, the last of `layers`, those before it. Raises `SubmissionRefusedError` for a
    native option that reflow sets itself, and for a path that qsub would not take.
    """
    # -f: no process of qsub's is left behind, which in a job would be one of the job's.
    made = ["-o", "/dev/null"] if on_torque else ["-f", "-o", log_pattern(request)]
    made += ["-N", job_name(request.tag), "-j", "oe"]
    if request.size > 1:
        made += ["-t" if on_torque else "-J", index_range(request)]
    if request.size == 1 or on_torque:
        # PBS's own second start would be one that the engine has not counted. Of an array
        # OpenPBS refuses it: there the element that starts again takes its own claim over.
        made += ["-r", "n"]
    if request.after:
        waits = f"afterany:{':'.join(request.after)}"
        made += ["-W", f"depend={torque.depend(request.after) if on_torque else waits}"]
    if request.begin:  # full seconds, and never early
        begin = time.localtime(math.ceil(now + max(1.0, request.begin)))
        made += ["-a", time.strftime("%Y%m%d%H%M.%S", begin)]
    found = {"ncpus": "1"}
    for layer in (*map(long, layers), asked(request), long(request.resources.native)):
        if layer.keys() & {*WHOLE}:
            found = {name: one for name, one in found.items() if name not in (*CHUNK, CHUNKS)}
        if layer.keys() & {*CHUNK, CHUNKS, *WHOLE}:
            found = {name: one for name, one in found.items() if name not in WHOLE}
        found.update(layer)
    chunks = found.pop(CHUNKS, "1")
    if on_torque and "mem" in found:
        made += ["-l", f"mem={torque.times(chunks, found.pop('mem'))}"]
    words = torque.WORDS if on_torque else {}
    chunk = "".join(f":{words.get(one, one)}={found.pop(one)}" for one in CHUNK if one in found)
    if not found.keys() & {*WHOLE}:
        found["nodes" if on_torque else "select"] = f"{chunks}{chunk}"
        if chunks != "1" and not on_torque:  # what a task asks for is meant for each node
            found.setdefault("place", "scatter")
    for name, value in found.items():
        if len(name) == 1:
            made += [f"-{name}", value] if value else [f"-{name}"]
        else:
            made += ["-W" if name in ATTRIBUTES else "-l", f"{name}={value}"]
    return [*made, "-" if on_torque else request.script]


def asked(request: JobRequest) -> dict[str, str]:
    """Return what a task asks for by the names of PBS; what it leaves open is not there."""
    wants = request.resources
    found = {
        "ncpus": "" if wants.cpus == 1 else str(wants.cpus), "ngpus": str(wants.gpus or ""),
        # Rounded up; without a unit it would be bytes.
        "mem": "" if wants.mem is None else f"{max(1, -(-wants.mem // 1024))}kb",
        CHUNKS: "" if wants.nodes == 1 else str(wants.nodes),
        "walltime": "" if wants.time is None else walltime(wants.time),
        "q": wants.queue or "", "A": wants.account or "",
    }  # fmt: skip
    return {name: value for name, value in found.items() if value}


def job_name(tag: str) -> str:
    """Return a tag as a job name that qsub takes and qselect can be asked for."""
    name = _NAME.sub("_", tag)
    if len(name) > MAX_NAME:  # what tells tags apart is at their end
        name = f"{name[:150]}-{hashlib.sha256(tag.encode()).hexdigest()[:16]}"
    return name


def log_pattern(request: JobRequest) -> str:
    """Return the path of the log; of an array, PBS fills the index in itself."""
    if not (request.log.isascii() and request.log.isprintable()) or INDEX in request.log:
        raise SubmissionRefusedError(
            f"the log {request.log!r} has letters that PBS does not take in a path as they are: "
            f"use a run directory whose path is plain ASCII, without {INDEX}"
        )
    return log_path(request, INDEX)


def walltime(seconds: int) -> str:
    """Write a time limit as ``hours:minutes:seconds``; days PBS does not know.

    >>> walltime(90061)
    '25:01:01'
    """
    rest = max(1, seconds)
    return f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"


def long(options: Mapping[str, str]) -> dict[str, str]:
    """Return a user's own options by name: letters of qsub, attributes of -W, resources of -l.

    >>> long({"q": "high", "l": "select=1:ncpus=2,place=excl", "-W": "group_list=geo", "V": ""})
    {'q': 'high', 'select': '1:ncpus=2', 'place': 'excl', 'group_list': 'geo', 'V': ''}
    """
    found: dict[str, str] = {}
    for name, value in options.items():
        parts = {name.lstrip("-"): value}
        if parts.keys() & {"l", "W"}:
            listed = re.split(",(?=[A-Za-z_]+=)", value)
            parts = dict(one.partition("=")[::2] for one in listed)
        for part, text in parts.items():
            if part in OURS:
                raise SubmissionRefusedError(
                    f"the option {name!r} ({value!r}) is set by reflow itself: leave it out"
                )
            named = re.fullmatch("[A-Za-z]|[A-Za-z][A-Za-z0-9_.-]+", part)
            if not named or not text.isprintable() or not (text or len(part) == 1):
                raise SubmissionRefusedError(f"{name!r} = {value!r} is no option of qsub")
        found.update(parts)
    return found
