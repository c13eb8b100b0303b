"""The simulator as a test uses it: start, query, inject faults, stop."""

from __future__ import annotations

import contextlib
import marshal
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from . import client, processes
from .model import Settings
from .server import CONTROL

_FAULTS = {
    # fault: (order, default arguments)
    "refuse": ("fault", {"how": "refuse", "times": 1}),
    "timeout_before": ("fault", {"how": "before", "times": 1}),
    "timeout_after": ("fault", {"how": "after", "times": 1}),
    "down": ("settings", {"controller": "down"}),
    "up": ("settings", {"controller": "up"}),
    "accounting_down": ("settings", {"accounting": "down"}),
    "accounting_off": ("settings", {"accounting": "off"}),
    "accounting_up": ("settings", {"accounting": "up", "accounting_lag": 0.0}),
    "accounting_lag": ("settings", {}),
    "array_lag": ("settings", {}),
    "array_limit": ("settings", {}),
    "submit_limit": ("account", {"account": "science"}),
    "default_limit": ("default_limit", {}),
    "partition_down": ("partition", {"up": False}),
    "partition_up": ("partition", {"up": True}),
    "lose": ("lose", {}),
    "preempt": ("preempt", {}),
    "overdue": ("overdue", {}),
    "kill_node": ("kill_node", {}),
    "restore_node": ("restore_node", {}),
}  # fmt: skip
_RENAMED = {
    "accounting_lag": {"seconds": "accounting_lag"},
    "array_limit": {"limit": "max_array_size"},
    "array_lag": {"seconds": "array_lag"},
}


class Simulator:
    """One simulated cluster: a daemon process, and a folder of commands to put on PATH.

    `daemon` is the program of a scheduler's face, `commands` the names of its commands, of
    which the first submits.
    """

    def __init__(self, daemon: Path, commands: tuple[str, ...], settings: Settings) -> None:
        # A socket's path may have 107 characters, fewer than that of some temporary folders.
        self.folder = tempfile.mkdtemp(prefix="sim", dir="/tmp")
        os.chmod(self.folder, 0o755)
        self._commands = commands
        self._socket = f"{self.folder}/socket"
        self.path = f"{self.folder}/bin"
        os.mkdir(self.path)
        client.write(self.path, self._socket, commands)
        changed = {name: value for name, value in asdict(settings).items() if value is not None}
        with open(f"{self.folder}/settings", "wb") as file:
            file.write(marshal.dumps(_plain(changed)))
        self.log = Path(self.folder) / "daemon.log"
        with self.log.open("wb") as log:
            # Its standard input ends with this process, and then it ends too.
            self._daemon = subprocess.Popen(
                [os.path.realpath(sys.executable), "-SI", str(daemon), self.folder],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
                start_new_session=True,
            )
        until = time.monotonic() + 60
        while not os.path.exists(self._socket):
            if self._daemon.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the simulator does not start: {self.log.read_text()}")
            time.sleep(0.005)

    @property
    def environment(self) -> dict[str, str]:
        """This process's environment with the simulated commands first on PATH."""
        return {
            **os.environ,
            "PATH": f"{self.path}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "REFLOW_SIM_DIR": self.folder,
        }

    @property
    def calls(self) -> Counter[str]:
        """How often each command was called so far."""
        return Counter(self._order("calls"))

    def jobs(self) -> list[dict[str, Any]]:
        """Return the jobs and positions that the scheduler remembers, including ended ones."""
        jobs: list[dict[str, Any]] = self._order("jobs")
        return jobs

    def inject(self, fault: str, **arguments: Any) -> None:
        """Inject a fault.

        ``refuse`` (command, text, times), ``timeout_before`` and ``timeout_after`` (command,
        times): before or after the call has had its effect; ``down`` and ``up``: the
        controller; ``accounting_down``, ``accounting_off``, ``accounting_up``,
        ``accounting_lag`` and ``array_lag`` (seconds); ``lose``, ``preempt`` and
        ``overdue`` (job, index): vanishes, is put out for another, has reached its time limit;
        ``kill_node`` and ``restore_node`` (node); ``submit_limit`` (account, limit),
        ``array_limit`` (limit), ``default_limit`` (seconds) of jobs that name none,
        ``partition_down`` and ``partition_up`` (partition).
        """
        if fault not in _FAULTS:
            raise ValueError(f"no fault {fault!r}; there are: {', '.join(sorted(_FAULTS))}")
        order, defaults = _FAULTS[fault]
        names = _RENAMED.get(fault, {})
        settings = {
            **defaults,
            **{names.get(name, name): value for name, value in arguments.items()},
        }
        if order == "fault":
            settings.setdefault("command", self._commands[0])
        self._order(order, settings)

    def set(self, **settings: Any) -> None:
        """Change settings of the running cluster, see `Settings`."""
        unknown = set(settings) - {field.name for field in fields(Settings)}
        if unknown:
            raise ValueError(f"no such setting: {', '.join(sorted(unknown))}")
        self._order("settings", settings)

    def call(
        self, *arguments: str, stdin: str = "", **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run one of the commands and return how it ended."""
        return subprocess.run(
            [f"{self.path}/{arguments[0]}", *arguments[1:]],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env={**self.environment, **options.pop("environment", {})},
            **options,
        )

    def _order(self, order: str, arguments: dict[str, Any] | None = None) -> Any:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(self._socket)
            data = marshal.dumps((CONTROL, order, arguments or {}))
            connection.sendall(len(data).to_bytes(8, "little") + data)
            parts = []
            while part := connection.recv(1 << 20):
                parts.append(part)
        if not parts:
            raise RuntimeError(f"the simulator has died: {self.log.read_text()}")
        answer = marshal.loads(b"".join(parts))
        if isinstance(answer, str):
            raise ValueError(answer)
        return answer

    def stop(self) -> str:
        """End the cluster and every process of its jobs; return the daemon's error output."""
        if not os.path.isdir(self.folder):
            return ""
        Path(f"{self.folder}/stopping").touch()  # a process may still be writing to the folder
        assert self._daemon.stdin is not None
        with contextlib.suppress(OSError):
            self._daemon.stdin.close()
        try:
            self._daemon.wait(60)
        except subprocess.TimeoutExpired:
            self._daemon.kill()
            self._daemon.wait()
        processes.send(processes.members(f"{self.folder}:"), signal.SIGKILL)
        complaints = self.log.read_text()
        shutil.rmtree(self.folder, ignore_errors=True)
        return complaints


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value
