"""The daemon of a simulated OpenLava; a program: ``daemon.py FOLDER``, without site packages."""

import marshal
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from schedulers.engine.cluster import Cluster
from schedulers.engine.model import Settings
from schedulers.engine.server import Answer, Call, Server, listen
from schedulers.lsf import jobs
from schedulers.lsf.ask import bhist, bjobs, bparams
from schedulers.lsf.bkill import bkill
from schedulers.lsf.bsub import bsub

COMMANDS = {"bsub": bsub, "bjobs": bjobs, "bkill": bkill, "bhist": bhist, "bparams": bparams}


def answer(cluster: Cluster, call: Call, fault: dict | None) -> Answer:
    return COMMANDS[call.command](cluster, call, fault)


def main(folder: str) -> None:
    with open(f"{folder}/settings", "rb") as file:
        inherited = marshal.loads(file.read())
    settings = Settings(**{
        **inherited, "position_numbers": False,
        "max_array_size": min(inherited["max_array_size"], 1000),
        "nodes": [["host", 16, 64000]],
        "partitions": [["normal", ["host"], 10**9, 0, True], ["short", ["host"], 600, 0, True]],
    })  # fmt: skip
    listener = listen(f"{folder}/socket.new")
    cluster = Cluster(
        folder, settings, jobs.environment, jobs.log_path, lambda job, outcome: "",
        signals=jobs.signals,
    )  # fmt: skip
    cluster.next_number = 101
    cluster.on_end.append(jobs.report)
    server = Server(cluster, answer, jobs.exit_code)
    # From here on clients that see the socket are served.
    Path(f"{folder}/socket.new").rename(f"{folder}/socket")
    server.serve(listener, 0)
    if not Path(f"{folder}/stopping").exists():  # the process that started this one is dead
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1])
