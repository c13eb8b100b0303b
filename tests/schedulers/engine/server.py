"""The daemon's loop: clients on a socket, processes that end, timers."""

from __future__ import annotations

import ctypes
import marshal
import os
import selectors
import signal
import socket
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from .cluster import Cluster
from .model import Job

CONTROL = "!"
"""The command by which the test itself speaks to the daemon."""


@dataclass(slots=True)
class Call:
    """One call of a command, as its client was started."""

    command: str
    arguments: list[str]
    directory: str
    environment: dict[str, str]
    uid: int
    gid: int
    stdin: bytes | None


@dataclass(slots=True)
class Answer:
    """What a client prints and returns, after a pause in seconds."""

    code: int = 0
    out: str = ""
    err: str = ""
    pause: float = 0.0
    wait_for: int | None = None
    """A job at whose end the client is answered, with that job's exit code."""


class NeedsStdin(Exception):
    """The call reads its standard input, which the client has not sent."""


@dataclass(slots=True)
class Faults:
    """Faults to inject: by command, the next calls that are refused or time out."""

    next: list[dict[str, Any]] = field(default_factory=list)

    def take(self, command: str) -> dict[str, Any] | None:
        for fault in self.next:
            if fault["command"] == command:
                fault["times"] -= 1
                if not fault["times"]:
                    self.next.remove(fault)
                return fault
        return None


class Server:
    """Serves one cluster until a test stops it, or the process that started it is gone.

    `answer` is the face: it carries out a call, with the fault it was given for it. `name` is
    what a call counts as, where one command has several within.
    """

    def __init__(
        self,
        cluster: Cluster,
        answer: Callable[[Cluster, Call, dict[str, Any] | None], Answer],
        exit_code: Callable[[Job], int],
        name: Callable[[Call], str] = lambda call: call.command,
    ) -> None:
        self.cluster, self.calls, self.faults = cluster, Counter[str](), Faults()
        self._answer, self._exit_code, self._name = answer, exit_code, name
        self._waiting: dict[int, list[socket.socket]] = {}
        cluster.on_end.append(self._wake)

    def serve(self, listener: socket.socket, parent: int) -> None:
        """Serve; `parent` is a stream that ends with the process that started this one."""
        # Orphans of jobs are reparented to this process, so that none stays a zombie.
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
        waker, waked = socket.socketpair()
        for channel in (waker, waked, listener):
            channel.setblocking(False)
        signal.set_wakeup_fd(waked.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        choice = selectors.DefaultSelector()
        for stream in (listener, waker, parent):
            choice.register(stream, selectors.EVENT_READ)
        while True:
            for key, _ in choice.select(self.cluster.wait()):
                if key.fileobj is waker:
                    waker.recv(4096)
                elif key.fileobj is listener:
                    self._serve_one(listener.accept()[0])
                elif not os.read(parent, 1):
                    self.cluster.stop()
                    return
            self._reap()
            self.cluster.tick()

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            self.cluster.child_ended(pid, status)

    def _serve_one(self, client: socket.socket) -> None:
        client.settimeout(60)
        try:
            size = int.from_bytes(_exactly(client, 8), "little")
            message = marshal.loads(_exactly(client, size))
            if message[0] == CONTROL:
                self._send(client, self.control(*message[1:]))
                return
            call = Call(*message)
            # Process ends are handled before calls, so that answers are up to date.
            self._reap()
            self.cluster.tick()
            name = self._name(call)
            fault = self.faults.take(name)
            try:
                answer = self._answer(self.cluster, call, fault)
            except NeedsStdin:
                if fault is not None:
                    fault["times"] = 1
                    self.faults.next.insert(0, fault)
                self._send(client, "stdin")
                return
            self.calls[name] += 1
            if answer.wait_for is not None and answer.code == 0:
                self._waiting.setdefault(answer.wait_for, []).append(client)
                return
            self._send(
                client, (answer.pause, answer.code, answer.out.encode(), answer.err.encode())
            )
        except OSError:
            client.close()

    def _send(self, client: socket.socket, reply: Any) -> None:
        with client:
            client.sendall(marshal.dumps(reply))

    def _wake(self, job: Job) -> None:
        if job.base in self._waiting and not any(
            member.live for member in self.cluster.find(job.base)
        ):
            code = max(map(self._exit_code, self.cluster.find(job.base)), default=0)
            for client in self._waiting.pop(job.base):
                try:
                    self._send(client, (0.0, code, f"{job.base}\n".encode(), b""))
                except OSError:
                    continue

    def control(self, order: str, arguments: dict[str, Any]) -> Any:
        """Carry out an order of the test."""
        cluster = self.cluster
        if order == "jobs":
            return [_plain(job) for job in cluster.remembered()]
        if order == "calls":
            return dict(self.calls)
        if order == "fault":
            self.faults.next.append(arguments)
        elif order == "settings":
            cluster.settings = replace(cluster.settings, **arguments)
        elif order == "account":
            cluster.accounts[arguments["account"]].max_submit = arguments["limit"]
        elif order == "partition":
            cluster.partitions[arguments["partition"]].up = arguments["up"]
            cluster.schedule()
        elif order == "default_limit":
            for partition in cluster.partitions.values():
                partition.default_limit = min(partition.limit, arguments["seconds"])
        elif order == "kill_node":
            cluster.kill_node(arguments["node"])
        elif order == "restore_node":
            cluster.restore_node(arguments["node"])
        elif order in ("lose", "preempt", "overdue"):
            does = {"lose": cluster.lose, "preempt": cluster.preempt, "overdue": cluster.overdue}
            for job in list(cluster.find(arguments["job"])):
                if arguments.get("index") in (None, _index(job)):
                    does[order](job)
        else:
            return f"no such order: {order}"
        cluster.tick()
        return None


def _index(job: Job) -> int | None:
    """Return the array position of a job as its user sees it."""
    return job.request.position if job.index is None else job.index


def _plain(job: Job) -> dict[str, Any]:
    request = job.request
    return {
        "id": job.base, "index": _index(job),
        "number": job.number, "name": request.name,
        "state": job.state, "outcome": job.outcome, "reason": job.reason, "pid": job.pid,
        "comment": request.comment, "account": request.account, "partition": request.partition,
        "nodes": [node.name for node in job.nodes], "restarts": job.restarts, "log": job.log,
        "dependencies": [asdict(dependency) for dependency in job.dependencies],
        "throttle": request.throttle, "limit": job.limit,
        "submitted": job.submitted, "started": job.started, "ended": job.ended,
    }  # fmt: skip


def _exactly(client: socket.socket, size: int) -> bytes:
    parts = b""
    while len(parts) < size:
        part = client.recv(size - len(parts))
        if not part:
            raise ConnectionError
        parts += part
    return parts


def listen(path: str) -> socket.socket:
    """Open the socket of a cluster; it is there when this returns."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(128)
    return listener
