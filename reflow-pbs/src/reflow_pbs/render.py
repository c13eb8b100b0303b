"""Requests as `qsub` wants them; pure. Manual pages: qsub(1B) of OpenPBS 23.06."""

from __future__ import annotations

import hashlib
import math
import re
import time
from collections.abc import Mapping

from attrs import field, frozen

from reflow.errors import SubmissionRefusedError
from reflow.executors.base import JobRequest

OURS = frozenset(
    {"a", "C", "e", "f", "h", "I", "J", "j", "N", "o", "R", "r", "t", "X", "z", "array", "block",
     "depend", "interactive", "max_run_subjobs"}
)  # fmt: skip
"""Options that reflow sets itself: another value would break what the engine relies on."""

LETTERS = {"q": "queue", "A": "account"}
ATTRIBUTES = frozenset(
    {"create_resv_from_job", "group_list", "pwd", "release_nodes_on_stageout", "run_count",
     "sandbox", "stagein", "stageout", "tolerate_node_failures", "umask"}
)  # fmt: skip
"""Names that belong to -W; other long names are resources, of -l."""

CHUNK = ("ncpus", "mem", "ngpus", "mpiprocs", "ompthreads")
"""Resources of a chunk, which qsub takes within select= only."""
WHOLE = ("select", "nodes")
"""What says all of the chunks at once, in the new and in the old form."""
CHUNKS = "chunks"  # how many: no word of PBS

MAX_NAME = 230

_NAME = re.compile(r"[^A-Za-z0-9_.+-]")


@frozen(kw_only=True)
class Defaults:
    """What a job asks for where its task says nothing, and the umask of who submits, in octal."""

    queue: str | None = None
    account: str | None = None
    options: Mapping[str, str] = field(factory=dict)
    umask: str = "022"


def arguments(request: JobRequest, defaults: Defaults, now: float) -> list[str]:
    """Return the options and the script that `qsub` is called with at the time `now`.

    An option is taken from the first that names it: the task's native options, what the
    task asks for, the executor's options, its other settings. Raises
    `SubmissionRefusedError` for a native option that reflow sets itself, and for a path
    that qsub would not take as it is.
    """
    # -f: no process of qsub's is left behind, which in a job would be one of the job's.
    made = ["-f", "-N", job_name(request.tag), "-j", "oe", "-o", log_pattern(request)]
    if request.size > 1:
        throttle = f"%{request.throttle}" if request.throttle else ""
        made += ["-J", f"0-{request.size - 1}{throttle}"]
    else:
        # PBS's own second start would be one that the engine has not counted. Of an array
        # qsub refuses it: there the element that starts again takes its own claim over.
        made += ["-r", "n"]
    if request.after:
        made += ["-W", f"depend=afterany:{':'.join(request.after)}"]
    if request.begin:
        # Full seconds, and never early.
        begin = time.localtime(math.ceil(now + max(1.0, request.begin)))
        made += ["-a", time.strftime("%Y%m%d%H%M.%S", begin)]
    # d: written where it belongs at once, and not copied there when the job has ended. Without
    # a umask logs are for their owner alone.
    found = {"k": "oed", "umask": defaults.umask, "ncpus": "1"}
    site = {"queue": defaults.queue, "account": defaults.account}
    found.update({name: value for name, value in site.items() if value})
    for layer in (long(defaults.options), asked(request), long(request.resources.native)):
        if layer.keys() & {*CHUNK, CHUNKS, *WHOLE}:
            told = {*WHOLE} if not layer.keys() & {*WHOLE} else {*WHOLE, *CHUNK, CHUNKS}
            found = {name: value for name, value in found.items() if name not in told}
        found.update(layer)
    return [*made, *_options(found), request.script]


def _options(found: dict[str, str]) -> list[str]:
    chunks = found.pop(CHUNKS, "1")
    chunk = "".join(f":{name}={found.pop(name)}" for name in CHUNK if name in found)
    if not found.keys() & {*WHOLE}:
        found["select"] = f"{chunks}{chunk}"
        if chunks != "1":
            # Memory and processors are meant for each node.
            found.setdefault("place", "scatter")
    made = []
    for name, letter in (("queue", "-q"), ("account", "-A")):
        if name in found:
            made += [letter, found.pop(name)]
    for name, value in found.items():
        if len(name) == 1:
            made += [f"-{name}", value] if value else [f"-{name}"]
        else:
            made += ["-W" if name in ATTRIBUTES else "-l", f"{name}={value}"]
    return made


def asked(request: JobRequest) -> dict[str, str]:
    """Return what a task asks for in neutral words; what it leaves open is not there."""
    wants = request.resources
    found = {}
    if wants.cpus != 1:
        found["ncpus"] = str(wants.cpus)
    if wants.mem is not None:
        # Without a unit it would be bytes. Rounded up.
        found["mem"] = f"{max(1, -(-wants.mem // 1024))}kb"
    if wants.gpus:
        found["ngpus"] = str(wants.gpus)
    if wants.nodes != 1:
        found[CHUNKS] = str(wants.nodes)
    if wants.time is not None:
        found["walltime"] = walltime(wants.time)
    if wants.queue:
        found["queue"] = wants.queue
    if wants.account:
        found["account"] = wants.account
    return found


def job_name(tag: str) -> str:
    """Return a tag as a job name that qsub takes and qselect can be asked for."""
    name = _NAME.sub("_", tag)
    if len(name) > MAX_NAME:  # what tells tags apart is at their end
        name = f"{name[:150]}-{hashlib.sha256(tag.encode()).hexdigest()[:16]}"
    return name


def log_pattern(request: JobRequest) -> str:
    """Return the path of the log; of an array, PBS fills the index in itself."""
    if not (request.log.isascii() and request.log.isprintable()):
        raise SubmissionRefusedError(
            f"the log {request.log!r} has letters that qsub does not take in a path: "
            "use a run directory whose path is plain ASCII"
        )
    return request.log.replace("{position}", "^array_index^" if request.size > 1 else "0")


def walltime(seconds: int) -> str:
    """Write a time limit as ``hours:minutes:seconds``.

    >>> walltime(90061)
    '25:01:01'
    """
    rest = max(1, seconds)
    return f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"


def long(options: Mapping[str, str]) -> dict[str, str]:
    """Return a user's own options by name: letters of qsub, attributes of -W, resources of -l.

    >>> long({"q": "high", "l": "select=1:ncpus=2,place=excl", "-W": "group_list=geo", "V": ""})
    {'queue': 'high', 'select': '1:ncpus=2', 'place': 'excl', 'group_list': 'geo', 'V': ''}
    """
    found = {}
    for name, value in options.items():
        option = name.lstrip("-")
        parts = {option: value}
        if option in ("l", "W"):
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
            found[LETTERS.get(part, part)] = text
    return found
