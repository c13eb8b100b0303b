"""The program behind every simulated command: it hands its call to the daemon.

It runs without site packages, and imports what starts quickly: a command must be about
as quick as a real one. `write` makes the executables.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

PROGRAM = """\
#!{python} -SI
import marshal, os, sys, time
import _socket
def ask(given):
    made = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        made.connect({socket!r})
    except OSError:
        sys.stderr.write("{command}: error: the simulated cluster has ended\\n")
        os._exit(1)
    data = marshal.dumps(given)
    made.sendall(len(data).to_bytes(8, "little") + data)
    parts = []
    while part := made.recv(1 << 20):
        parts.append(part)
    return marshal.loads(b"".join(parts)) if parts else (0.0, 1, b"", b"the simulator has ended\\n")
call = ({command!r}, sys.argv[1:], os.getcwd(), dict(os.environ), os.getuid(), os.getgid())
told = ask((*call, None))
if told == "stdin":
    told = ask((*call, sys.stdin.buffer.read()))
pause, code, out, err = told
if pause:
    time.sleep(pause)
for place, text in ((1, out), (2, err)):
    while text:
        text = text[os.write(place, text):]
os._exit(code)
"""


def write(folder: str, socket: str, commands: Iterable[str]) -> None:
    """Write the executables of these commands into a folder."""
    # The interpreter itself, without the virtual environment it may have been started from.
    python = os.path.realpath(sys.executable)
    for command in commands:
        path = f"{folder}/{command}"
        with open(path, "w") as file:
            file.write(PROGRAM.format(python=python, socket=socket, command=command))
        os.chmod(path, 0o755)
