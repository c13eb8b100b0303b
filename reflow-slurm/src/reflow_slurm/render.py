"""Requests as `sbatch` wants them; pure. Manual pages: sbatch(1) of Slurm 22.05."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from attrs import frozen

from reflow.executors.base import JobRequest
from reflow.executors.options import SiteDefaults, checked, elements, given, long_name, refuse

SHORT = {
    "A": "account", "a": "array", "b": "begin", "C": "constraint", "c": "cpus-per-task",
    "D": "chdir", "d": "dependency", "e": "error", "F": "nodefile", "G": "gpus", "H": "hold",
    "h": "help", "I": "immediate", "i": "input", "J": "job-name", "k": "no-kill", "L": "licenses",
    "M": "clusters", "m": "distribution", "N": "nodes", "n": "ntasks", "O": "overcommit",
    "o": "output", "p": "partition", "Q": "quiet", "q": "qos", "S": "core-spec",
    "s": "oversubscribe", "t": "time", "V": "version", "v": "verbose", "W": "wait",
    "w": "nodelist", "x": "exclude",
}  # fmt: skip
OURS = frozenset({
    "array", "begin", "chdir", "clusters", "comment", "dependency", "error", "help", "hold",
    "immediate", "input", "job-name", "kill-on-invalid-dep", "no-requeue", "open-mode", "output",
    "parsable", "requeue", "test-only", "usage", "version", "wait", "wrap",
})  # fmt: skip
"""Options that reflow sets itself: another value would break what the engine relies on."""

MEMORY = frozenset({"mem", "mem-per-cpu", "mem-per-gpu"})
CPUS = frozenset({"cpus-per-task", "cpus-per-gpu"})
GPUS = frozenset({"gpus", "gpus-per-node", "gpus-per-task", "gpus-per-socket"})
# Of each of these, one excludes the others: what a task says replaces the executor's.

_NAME = re.compile(r"[^A-Za-z0-9_.+@=-]")
_COMMENT = re.compile(r"[^A-Za-z0-9_.+@=,:/ ()\[\]-]")


@frozen(kw_only=True)
class Defaults(SiteDefaults):
    """What a job asks for where its task says nothing; None leaves it to the site."""

    cluster: str | None = None


def arguments(request: JobRequest, defaults: Defaults) -> list[str]:
    """Return the options and the script that `sbatch` is called with.

    An option is taken from the first that names it: the task's native options, what the
    task asks for, the executor's options, its other settings. Raises
    `SubmissionRefusedError` for a native option that reflow sets itself, and for a path
    that sbatch would not take as it is.
    """
    found = {
        "parsable": "",
        "job-name": job_name(request.tag),
        # Accounting's database may take no more than this of characters and length.
        "comment": _COMMENT.sub("_", request.name)[:250],
        "chdir": request.directory,
        "output": log_pattern(request),
        "open-mode": "append",
        # Slurm's own second start would be one that the engine has not counted.
        "no-requeue": "",
        "export": "ALL",
        "cpus-per-task": "1",
    }
    found |= given(
        clusters=defaults.cluster,
        array=elements(request) if request.size > 1 else None,
        dependency=dependency(request),
        # aftercorr means after the twin's *success*: without this, an element whose twin was
        # killed would wait for ever (sbatch(1), --kill-on-invalid-dep).
        kill_on_invalid_dep="yes" if request.after_each else None,
        begin=f"now+{max(1, math.ceil(request.begin))}" if request.begin else None,
        partition=defaults.queue,
        account=defaults.account,
    )
    for layer in (long(defaults.options), asked(request), long(request.resources.native)):
        for names in (MEMORY, CPUS, GPUS):
            if layer.keys() & names or (names is GPUS and _gpus(layer)):
                found = {name: value for name, value in found.items() if name not in names}
        found["gres"] = _gres(found.get("gres", ""), layer)
        found.update({name: value for name, value in layer.items() if name != "gres"})
    if not found["gres"]:
        del found["gres"]
    options = [f"--{name}={value}" if value else f"--{name}" for name, value in found.items()]
    return [*options, request.script]


def asked(request: JobRequest) -> dict[str, str]:
    """Return what a task asks for in neutral words; what it leaves open is not there."""
    wants = request.resources
    return given(
        cpus_per_task=str(wants.cpus) if wants.cpus != 1 else None,
        time=None if wants.time is None else time_limit(wants.time),
        # 0 would be all that a node has.
        mem=None if wants.mem is None else f"{max(1, -(-wants.mem // 1024))}K",
        # --gres counts for each node and takes any type, as --gpus-per-node does, and other
        # than that does not need SelectType=cons_tres.
        gres=f"gpu:{wants.gpus}" if wants.gpus else None,
        nodes=str(wants.nodes) if wants.nodes != 1 else None,
        partition=wants.queue,
        account=wants.account,
    )


def _gpus(layer: Mapping[str, str]) -> bool:
    return bool(layer.keys() & GPUS) or any(_resource(one) == "gpu" for one in _items(layer))


def _gres(before: str, layer: Mapping[str, str]) -> str:
    """Return generic resources with a layer's: its GPUs replace GPUs, other things are added."""
    replaced = {_resource(one) for one in _items(layer)} | ({"gpu"} if _gpus(layer) else set())
    kept = [one for one in before.split(",") if one and _resource(one) not in replaced]
    return ",".join([*kept, *_items(layer)])


def _items(layer: Mapping[str, str]) -> list[str]:
    return [one for one in layer.get("gres", "").split(",") if one]


def _resource(item: str) -> str:
    return re.split("[:=]", item)[0]


def job_name(tag: str) -> str:
    """Return a tag as a job name that squeue and sacct can be asked for."""
    return _NAME.sub("_", tag)


def dependency(request: JobRequest) -> str:
    """Return what a job waits for; "after any end", so that a failure never leaves it waiting."""
    parts = [f"aftercorr:{request.after_each}"] if request.after_each else []
    if request.after:
        parts.append(f"afterany:{':'.join(request.after)}")
    return ",".join(parts)


def log_pattern(request: JobRequest) -> str:
    """Return the path of the log with Slurm's placeholders; its own ``%`` is doubled."""
    refuse(r"\\", "log", request.log, "a backslash, which sbatch takes out of file names")
    # sbatch(1), "filename pattern": %a is the array index.
    position = "%a" if request.size > 1 else "0"
    return request.log.replace("%", "%%").replace("{position}", position)


def time_limit(seconds: int) -> str:
    """Write a time limit as ``days-hours:minutes:seconds``; Slurm rounds it up to minutes.

    >>> time_limit(90061)
    '1-01:01:01'
    """
    days, rest = divmod(max(1, seconds), 86400)  # 0 would be no limit at all
    return f"{days}-{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"


def long(options: Mapping[str, str]) -> dict[str, str]:
    """Return a user's own options by their long names; an empty value is a flag.

    >>> long({"q": "high", "exclusive": "", "ntasks_per_node": "4", "--mail-type": "END"})
    {'qos': 'high', 'exclusive': '', 'ntasks-per-node': '4', 'mail-type': 'END'}
    """
    return checked(
        options, "sbatch", ours=OURS, allowed="[A-Za-z0-9-]+", read=str,
        spelled=lambda name: long_name(name, SHORT),
        instead={"clusters": "set [executor.slurm] cluster"},
    )  # fmt: skip
