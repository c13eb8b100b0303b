"""The daemon of a simulated Grid Engine; a program: ``daemon.py FOLDER``, no site packages."""

import marshal
import shutil
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from schedulers.engine.cluster import Cluster
from schedulers.engine.model import Settings
from schedulers.engine.server import Answer, Call, Server, listen
from schedulers.sge import jobs, words
from schedulers.sge.qacct import qacct
from schedulers.sge.qconf import qconf
from schedulers.sge.qdel import qdel
from schedulers.sge.qhold import qhold, qmod, qrls
from schedulers.sge.qstat import qstat
from schedulers.sge.qsub import qsub

COMMANDS = {
    "qsub": qsub, "qstat": qstat, "qdel": qdel, "qacct": qacct, "qhold": qhold, "qrls": qrls,
    "qmod": qmod, "qconf": qconf,
}  # fmt: skip

SITE = {
    # Queue instances are the engine's nodes; memory is no consumable.
    "nodes": [("main.q", 12, 1 << 20), ("second.q", 2, 1 << 20)],
    "partitions": [
        ("", ("main.q", "second.q"), 1 << 40, 0, True),
        ("main.q", ("main.q",), 1 << 40, 0, True),
        ("second.q", ("second.q",), 1 << 40, 0, True),
    ],
}


def answer(cluster: Cluster, call: Call, fault: dict | None) -> Answer:
    # Calls that never reach qmaster: refused by the client, or answered from a file.
    if call.command != "qacct" and "-help" not in call.arguments:
        settings = cluster.settings
        down = settings.controller == "down"
        if down or (fault and fault["how"] == "before" and call.command != "qsub"):
            return words.no_answer(call.command, settings.message_timeout)
        if fault and call.command != "qsub":
            return Answer(1, err=f"{fault.get('text', 'error: no')}\n")
    return COMMANDS[call.command](cluster, call, fault)


def main(folder: str) -> None:
    with open(f"{folder}/settings", "rb") as file:
        inherited = Settings(**marshal.loads(file.read()))
    settings = replace(inherited, position_numbers=False, kill_at_once=True, **SITE)
    if inherited.max_array_size == Settings().max_array_size:
        settings.max_array_size = 75000
    listener = listen(f"{folder}/socket.new")
    cluster = Cluster(
        folder, settings, jobs.environment, jobs.log_path, lambda job, outcome: "", jobs.verdict
    )
    cluster.on_end.append(jobs.miscount)
    server = Server(cluster, answer, jobs.exit_code)
    # From here on clients that see the socket are served.
    Path(f"{folder}/socket.new").rename(f"{folder}/socket")
    server.serve(listener, 0)
    if not Path(f"{folder}/stopping").exists():  # the process that started this one is dead
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1])
