"""Requests as `qsub` wants them; pure. Manual page: submit(1) of Son of Grid Engine 8.1.9."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping
from datetime import datetime, timedelta

from attrs import field, frozen

from reflow.errors import SubmissionRefusedError
from reflow.executors.base import JobRequest
from reflow.executors.options import log_path, refuse_path, user_options

OURS = frozenset({
    "@", "C", "N", "S", "a", "b", "ckpt", "clear", "cwd", "e", "h", "hard", "help", "hold_jid",
    "hold_jid_ad", "i", "inherit", "j", "now", "o", "r", "shell", "soft", "sync", "t", "tc",
    "terse", "verify", "wd",
})  # fmt: skip
"""Options that reflow sets itself, or that would change what the others mean."""


@frozen(kw_only=True)
class Site:
    """The names that a site gives to things, and what jobs ask for where a task says nothing."""

    queue: str | None = None
    account: str | None = None
    options: Mapping[str, str] = field(factory=dict)
    project: str | None = None
    pe: str = "smp"
    nodes_pe: str | None = None
    mem_resource: str = "h_vmem"
    mem_per_slot: bool = True
    gpu_resource: str = "gpu"


def arguments(request: JobRequest, site: Site, now: datetime) -> list[str]:
    """Return the options and the script that `qsub` is called with at the local time `now`.

    An option is taken from the first that names it: the task's native options, what the task
    asks for, the executor's options, its other settings; ``-l`` resource by resource. Raises
    `SubmissionRefusedError` for what Grid Engine cannot take, and for a native option that
    reflow sets itself.
    """
    found: dict[str, list[str]] = {
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
    if request.size > 1:
        found["t"] = [f"1-{request.size}"]
        if request.throttle:
            found["tc"] = [str(request.throttle)]
    if request.after:
        found["hold_jid"] = [",".join(request.after)]
    if request.after_each:
        found["hold_jid_ad"] = [request.after_each]
    if request.begin:
        begin = now + timedelta(seconds=max(1, math.ceil(request.begin)))
        found["a"] = [begin.strftime("%Y%m%d%H%M.%S")]
    named = {"q": site.queue, "A": site.account, "P": site.project}
    found.update({name: [value] for name, value in named.items() if value})
    native = request.resources.native
    wanted: dict[str, str] = {}
    for layer in (own(site.options), asked(request, site), own(native)):
        for item in filter(None, (layer.pop("l", None) or [""])[0].split(",")):
            name, _, value = item.partition("=")
            wanted[name] = value
        found.update(layer)
    if wanted:
        found["l"] = [",".join(f"{name}={one}" if one else name for name, one in wanted.items())]
    words = [word for name, values in found.items() for word in (f"-{name}", *values)]
    return [*words, request.script]


def asked(request: JobRequest, site: Site) -> dict[str, list[str]]:
    """Return what a task asks for in neutral words; what it leaves open is not there."""
    wants = request.resources
    if wants.nodes > 1 and site.nodes_pe is None:
        raise SubmissionRefusedError(
            f"job {request.name!r} asks for {wants.nodes} nodes: set nodes_pe in [executor.sge] "
            "to a parallel environment that fills nodes one after the other"
        )
    slots = wants.cpus * wants.nodes
    sharing = wants.cpus if site.mem_per_slot else 1
    resources = {
        "h_rt": "" if wants.time is None else str(max(1, wants.time)),
        site.mem_resource: "" if wants.mem is None else memory(wants.mem, sharing),
        site.gpu_resource: str(wants.gpus or ""),
    }
    found = {
        "l": [",".join(f"{name}={value}" for name, value in resources.items() if value)],
        "pe": [(site.nodes_pe if wants.nodes > 1 else site.pe) or "", str(slots)],
        "q": [wants.queue or ""],
        "A": [wants.account or ""],
    }
    if slots == 1:
        del found["pe"]
    return {name: words for name, words in found.items() if words[0]}


def memory(size: int, slots: int = 1) -> str:
    """Write a size for each slot in the largest unit that is exact; qsub takes K, M and G only.

    >>> memory(3 << 30, 2), memory(1000)
    ('1536M', '1K')
    """
    kilobytes = max(1, -(-size // (1024 * slots)))  # 0 would be no limit
    for unit, factor in (("G", 1 << 20), ("M", 1 << 10)):
        if kilobytes % factor == 0:
            return f"{kilobytes // factor}{unit}"
    return f"{kilobytes}K"


def job_name(tag: str) -> str:
    """Return a tag as a job name: no digit at its start, and no letter that qsub refuses."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", tag)
    return name if re.match("[A-Za-z_]", name) else f"_{name}"


def path(given: str) -> str:
    """Return a path; refuse one that Grid Engine would take for something else."""
    why = "a comma, a dollar sign or a line break, which Grid Engine reads as something else"
    refuse_path(r"[,$\n\r]", "path", given, why)
    return given


def task_log(request: JobRequest) -> str:
    """Return the path of the log; ``$TASK_ID``, which counts from 1, stands for the position."""
    path(request.log)
    log = log_path(request, "$TASK_ID")
    # What stands before a colon is a host.
    return f":{log}" if ":" in log else log


def own(options: Mapping[str, str]) -> dict[str, list[str]]:
    """Return a user's own options, their values as words of a shell; "" makes a flag.

    >>> own({"-pe": "mpi 16", "notify": "", "p": "-10"})
    {'pe': ['mpi', '16'], 'notify': [], 'p': ['-10']}
    """
    return user_options(options, "qsub", reserved=OURS, read=shlex.split)
