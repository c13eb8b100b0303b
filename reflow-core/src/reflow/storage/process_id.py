"""Marks of processes, which no other process ever has.

A process id alone is used again, and means nothing on another host or in another container. So
the host, its boot, the pid namespace and the process's start time are part of the mark.
"""

from __future__ import annotations

import os


def _machine() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            boot = file.read().strip()
        return f"{os.uname().nodename}/{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return f"{os.uname().nodename}/-/-"


def started(pid: int) -> str | None:
    """Return when a process started (in the kernel's ticks), None if it has ended.

    A zombie has ended. Source: proc(5), /proc/pid/stat.
    """
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        if os.path.isdir("/proc/self"):
            return None
        try:  # no /proc (macOS): the pid alone must do
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            pass
        return "0"
    return None if fields[0] in "ZX" else fields[19]


def this_process(pid: int | None = None) -> str:
    """Return the mark of a living process of this machine; by default, this one."""
    pid = os.getpid() if pid is None else pid
    return f"{_machine()}/{pid}/{started(pid)}"


def is_alive(owner: str) -> bool | None:
    """Tell whether a marked process lives; None where this machine cannot know."""
    parts = owner.rsplit("/", 2)
    if len(parts) < 3 or parts[0] != _machine() or not parts[1].isdigit():
        return None  # of another machine, or the id of a job and no process
    _, pid, start = parts
    return started(int(pid)) == start
