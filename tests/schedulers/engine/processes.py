"""Processes of jobs: started in sessions of their own, found again by a mark, killed."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator, Mapping, Sequence

MARK = "REFLOW_SIM_JOB"
_PAGE = os.sysconf("SC_PAGE_SIZE") // 1024


def start(
    command: Sequence[str],
    directory: str,
    environment: Mapping[str, str],
    streams: tuple[int, int, int],
    address_space: int = 0,
) -> int:
    """Start a process in a new session and return its id.

    `streams` are open files, `address_space` is how many bytes it may map (0: no limit).
    """
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        for place, stream in enumerate(streams):
            os.dup2(stream, place)
        os.closerange(3, 256)
        os.chdir(directory)
        if address_space:
            resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))
        os.execve(command[0], command, environment)
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(126)


def _marked(mark: bytes) -> Iterator[int]:
    own = os.getpid()
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == own:
            continue
        try:
            with open(f"/proc/{entry}/environ", "rb") as file:
                if mark in b"\0" + file.read():
                    yield int(entry)
        except OSError:
            continue


def members(mark: str, leader: int = 0) -> list[int]:
    """Return the processes that carry a mark, or belong to the session of `leader`."""
    pids = set(_marked(f"\0{MARK}={mark}".encode()))
    if leader:
        for entry in os.listdir("/proc"):
            if entry.isdigit() and session(int(entry)) == leader:
                pids.add(int(entry))
    return sorted(pids)


def session(pid: int) -> int:
    """Return the session of a process; 0 where there is none, or only its remains."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in b"ZX" else int(fields[3])


def send(pids: Sequence[int], number: int) -> None:
    """Send a signal to processes, some of which may be gone."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def memory(leaders: Mapping[int, object]) -> dict[int, dict[int, int]]:
    """Return the private memory in kilobytes of every process of these sessions."""
    usage: dict[int, dict[int, int]] = {leader: {} for leader in leaders}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        leader = session(int(entry))
        if leader in usage:
            try:
                with open(f"/proc/{entry}/statm", "rb") as file:
                    fields = file.read().split()
            except OSError:
                continue
            usage[leader][int(entry)] = (int(fields[1]) - int(fields[2])) * _PAGE
    return usage
