"""Requests as `qsub` wants them; pure. Manual page: submit(1) of Son of Grid Engine 8.1.9."""

from __future__ import annotations

import re
import shlex
from functools import partial
from typing import TYPE_CHECKING

from reflow.errors import SubmissionRefusedError
from reflow.executors import options
from reflow.executors.base import JobRequest

if TYPE_CHECKING:
    from .executor import SGEExecutor

RESERVED = frozenset({
    "@", "C", "N", "S", "a", "b", "ckpt", "clear", "cwd", "e", "h", "hard", "help", "hold_jid",
    "hold_jid_ad", "i", "inherit", "j", "now", "o", "r", "shell", "soft", "sync", "t", "tc",
    "terse", "verify", "wd",
})  # fmt: skip
"""Options that reflow sets itself, or that would change what the others mean."""

native = partial(options.user_options, command="qsub", reserved=RESERVED, read=shlex.split)
"""Returns a user's own options, their values as words of a shell; "" makes a flag."""


def arguments(request: JobRequest, executor: SGEExecutor, now: float) -> list[str]:
    """Return the options and the script that `qsub` is called with at the time `now`.

    An option is taken from the first that names it: the task's native options, what the task
    asks for, the executor's options, its other settings; ``-l`` resource by resource. Raises
    `SubmissionRefusedError` for what Grid Engine cannot take, and for a native option that
    reflow sets itself.
    """
    flags: dict[str, list[str]] = {
        "terse": [],
        "C": [""],  # no options out of the script: a prologue may hold a line with "#$"
        "b": ["n"],
        "sync": ["n"],  # a user's or the cell's sge_request may say otherwise
        "N": [job_name(request.tag)],
        "wd": [path(request.directory)],
        "o": [task_log(request)],
        "j": ["y"],
        "S": ["/bin/sh"],  # a queue in posix_compliant mode does not read the first line
        "r": ["n"],  # Grid Engine's own second start would be one that the engine has not counted
        "V": [],
    }
    array = request.size > 1
    optional = {
        "t": f"1-{request.size}" if array else None,
        "tc": str(request.throttle) if array and request.throttle else None,
        "hold_jid": ",".join(request.after),
        "hold_jid_ad": request.after_each,
        "a": options.begin_stamp(now, request.begin) if request.begin else None,
        "q": executor.queue, "A": executor.account, "P": executor.project,
    }  # fmt: skip
    flags |= {name: [value] for name, value in optional.items() if value}
    own, resources = native(request.resources.native), dict[str, str]()
    for layer in (native(executor.options), requested(request, executor), own):
        items = (layer.pop("l", None) or [""])[0].split(",")
        resources.update(item.partition("=")[::2] for item in items if item)
        flags |= layer
    if resources:
        flags["l"] = [",".join("=".join(filter(None, item)) for item in resources.items())]
    words = [word for name, values in flags.items() for word in (f"-{name}", *values)]
    return [*words, request.script]


def requested(request: JobRequest, executor: SGEExecutor) -> dict[str, list[str]]:
    """Return what a task asks for in neutral words; what it leaves open is not there."""
    wants = request.resources
    if wants.nodes > 1 and executor.nodes_pe is None:
        raise SubmissionRefusedError(
            f"job {request.name!r} asks for {wants.nodes} nodes: set nodes_pe in [executor.sge] "
            "to a parallel environment that fills nodes one after the other"
        )
    slots = wants.cpus * wants.nodes
    sharing = wants.cpus if executor.mem_per_slot else 1
    resources = {
        "h_rt": options.written(wants.time, lambda time: str(options.whole_units(time))),
        executor.mem_resource: options.written(wants.mem, lambda size: memory(size, sharing)),
        executor.gpu_resource: options.written(wants.gpus, default=0),
    }
    environment = executor.nodes_pe if wants.nodes > 1 else executor.pe
    flags = {
        "l": [",".join(f"{name}={value}" for name, value in resources.items() if value)],
        "pe": [(environment or "") if slots > 1 else "", str(slots)],
        "q": [wants.queue or ""],
        "A": [wants.account or ""],
    }
    return {name: words for name, words in flags.items() if words[0]}


def memory(size: int, slots: int = 1) -> str:
    """Write a size for each slot in the largest unit that is exact; qsub takes K, M and G only.

    >>> memory(3 << 30, 2), memory(1000)
    ('1536M', '1K')
    """
    kilobytes = options.whole_units(size, 1024 * slots)
    for unit, factor in (("G", 1 << 20), ("M", 1 << 10)):
        if kilobytes % factor == 0:
            return f"{kilobytes // factor}{unit}"
    return f"{kilobytes}K"


def job_name(tag: str) -> str:
    """Return a tag as a job name: no digit at its start, and no letter that qsub refuses."""
    name = options.job_name(tag)
    return name if re.match("[A-Za-z_]", name) else f"_{name}"


def path(name: str) -> str:
    """Return a path; refuse one that Grid Engine would take for something else."""
    why = "a comma, a dollar sign or a line break, which Grid Engine reads as something else"
    options.refuse_path(r"[,$\n\r]", "path", name, why)
    return name


def task_log(request: JobRequest) -> str:
    """Return the path of the log; ``$TASK_ID``, which counts from 1, stands for the position."""
    path(request.log)
    log = options.log_path(request, "$TASK_ID")
    # What stands before a colon is a host.
    return f":{log}" if ":" in log else log
