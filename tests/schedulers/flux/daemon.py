"""The daemon of a simulated Flux; a program: ``daemon.py FOLDER``, without site packages."""

import marshal
import shutil
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from schedulers.engine.cluster import Cluster
from schedulers.engine.model import TIMEOUT, Settings
from schedulers.engine.server import Answer, Call, Server, listen
from schedulers.flux import commands, jobs
from schedulers.flux.cancel import cancel, job
from schedulers.flux.submit import submit

COMMANDS = {
    "submit": submit, "bulksubmit": submit, "jobs": jobs.jobs, "cancel": cancel, "job": job,
}  # fmt: skip


def answer(cluster: Cluster, call: Call, fault: dict | None) -> Answer:
    if not call.arguments or call.arguments[0] not in COMMANDS:
        return Answer(1, err="Usage: flux [OPTIONS] COMMAND ARGS\n")
    return COMMANDS[call.arguments[0]](cluster, call, fault)


def main(folder: str) -> None:
    with open(f"{folder}/settings", "rb") as file:
        settings = Settings(**marshal.loads(file.read()))
    listener = listen(f"{folder}/socket.new")
    cluster = Cluster(
        folder, settings, jobs.environment, jobs.log_path, lambda job, outcome: "",
        signals=lambda outcome: (signal.SIGALRM if outcome == TIMEOUT else signal.SIGTERM,),
    )  # fmt: skip
    server = Server(cluster, answer, jobs.exit_code, commands.name)
    # From here on clients that see the socket are served.
    Path(f"{folder}/socket.new").rename(f"{folder}/socket")
    server.serve(listener, 0)
    if not Path(f"{folder}/stopping").exists():  # the process that started this one is dead
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1])
