"""Requests as `qsub` wants them; pure. Manual page: qsub(1B) of OpenPBS 23.06, of Torque 6.1."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping

from reflow.errors import SubmissionRefusedError
from reflow.executors import options
from reflow.executors.base import JobRequest

from . import torque

RESERVED = frozenset("aCefhIJjNoRrtXz") | {"block", "depend", "interactive", "max_run_subjobs"}
"""Options that reflow sets itself: another value would break what the engine relies on."""
ATTRIBUTES = {"create_resv_from_job", "group_list", "pwd", "release_nodes_on_stageout", "run_count",
              "sandbox", "stagein", "stageout", "tolerate_node_failures", "umask"}  # fmt: skip
"""Names that belong to -W; other long names are resources, of -l."""
CHUNK = ("ncpus", "mem", "ngpus", "mpiprocs", "ompthreads")
"""Resources of a chunk, which qsub takes within select= only."""
WHOLE = ("select", "nodes")
"""What says all of the chunks at once, in the new and in the old form."""
CHUNKS = "chunks"  # how many: no word of PBS
MAX_NAME = 230  # seen: longer ones are refused
INDEX = "^array_index^"
"""What PBS replaces in the path of a log."""


def arguments(
    request: JobRequest, layers: Iterable[Mapping[str, str]], now: float, on_torque: bool = False
) -> list[str]:
    """Return the options and the script that `qsub` is called with at the time `now`.

    An option is taken from the first that names it: the task's native options, what the
    task asks for, the last of `layers`, those before it. Raises `SubmissionRefusedError` for a
    native option that reflow sets itself, and for a path that qsub would not take.
    """
    words = _placed(request, now, on_torque)
    flags = {"ncpus": "1"}
    for layer in (*map(native, layers), requested(request), native(request.resources.native)):
        replaced = {CHUNKS, *CHUNK} if layer.keys() & {*WHOLE} else set()
        replaced |= {*WHOLE} if layer.keys() & {CHUNKS, *CHUNK, *WHOLE} else set()
        flags = {name: value for name, value in flags.items() if name not in replaced} | layer
    for name, value in _chunks(flags, on_torque).items():
        if len(name) == 1:
            words += options.short_flags({name: value})
        else:
            words += ["-W" if name in ATTRIBUTES else "-l", f"{name}={value}"]
    return [*words, "-" if on_torque else request.script]


def _placed(request: JobRequest, now: float, on_torque: bool) -> list[str]:
    """Return the options that name a job, and say where it writes and when it begins."""
    # -f: no process of qsub's is left behind, which in a job would be one of the job's.
    words = ["-o", "/dev/null"] if on_torque else ["-f", "-o", log_pattern(request)]
    words += ["-N", job_name(request.tag), "-j", "oe"]
    if request.size > 1:
        words += ["-t" if on_torque else "-J", options.index_range(request)]
    if request.size == 1 or on_torque:
        # PBS's own second start would be one that the engine has not counted. Of an array
        # OpenPBS refuses it: there the element that starts again takes its own claim over.
        words += ["-r", "n"]
    if request.after:
        waits = f"afterany:{':'.join(request.after)}"
        words += ["-W", f"depend={torque.depend(request.after) if on_torque else waits}"]
    if request.begin:
        words += ["-a", options.begin_stamp(now, request.begin)]
    return words


def _chunks(flags: dict[str, str], on_torque: bool) -> dict[str, str]:
    """Return options with the resources of a chunk as one, where no other says all at once."""
    flags, first = dict(flags), {}
    count = flags.pop(CHUNKS, "1")
    if on_torque and "mem" in flags:
        first["mem"] = torque.times(count, flags.pop("mem"))
    words = torque.WORDS if on_torque else {}
    parts = {words.get(name, name): flags.pop(name) for name in CHUNK if name in flags}
    chunk = "".join(f":{name}={value}" for name, value in parts.items())
    if not flags.keys() & {*WHOLE}:
        flags["nodes" if on_torque else "select"] = f"{count}{chunk}"
        if count != "1" and not on_torque:  # what a task asks for is meant for each node
            flags.setdefault("place", "scatter")
    return {**first, **flags}


def requested(request: JobRequest) -> dict[str, str]:
    """Return what a task asks for by the names of PBS; what it leaves open is not there."""
    wants = request.resources
    return options.only_set(
        ncpus=options.written(wants.cpus, default=1),
        ngpus=options.written(wants.gpus, default=0),
        # Without a unit it would be bytes; days PBS does not know.
        mem=options.written(wants.mem, lambda size: f"{options.whole_units(size, 1024)}kb"),
        walltime=options.written(wants.time, lambda time: options.clock(max(1, time))),
        q=wants.queue,
        A=wants.account,
        **{CHUNKS: options.written(wants.nodes, default=1)},
    )


def job_name(tag: str) -> str:
    """Return a tag as a job name that qsub takes and qselect can be asked for."""
    name = options.job_name(tag)
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
    return options.log_path(request, INDEX)


def native(chosen: Mapping[str, str]) -> dict[str, str]:
    """Return a user's own options by name: letters of qsub, attributes of -W, resources of -l.

    >>> native({"q": "high", "l": "select=1:ncpus=2,place=excl", "-W": "group_list=geo", "V": ""})
    {'q': 'high', 'select': '1:ncpus=2', 'place': 'excl', 'group_list': 'geo', 'V': ''}
    """
    parts: dict[str, str] = {}
    for name, value in chosen.items():
        if name.lstrip("-") in ("l", "W"):
            listed = re.split(",(?=[A-Za-z_]+=)", value)
            parts.update(part.partition("=")[::2] for part in listed)
        else:
            parts[name] = value
    allowed = "[A-Za-z]|[A-Za-z][A-Za-z0-9_.-]+"
    read = options.user_options(parts, "qsub", reserved=RESERVED, read=str, allowed=allowed)
    for name, value in read.items():
        if len(name) > 1 and not value:
            raise SubmissionRefusedError(f"the option {name!r} of qsub needs a value")
    return read
