"""The daemon of a simulated Slurm; a program: ``daemon.py FOLDER``, without site packages."""

import marshal
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from schedulers.engine.cluster import Cluster
from schedulers.engine.model import Settings
from schedulers.engine.server import Answer, Call, Server, listen
from schedulers.slurm import jobs
from schedulers.slurm.sacct import sacct
from schedulers.slurm.sbatch import sbatch
from schedulers.slurm.scancel import scancel
from schedulers.slurm.scontrol import scontrol
from schedulers.slurm.squeue import squeue

COMMANDS = {
    "sbatch": sbatch, "squeue": squeue, "sacct": sacct, "scancel": scancel, "scontrol": scontrol,
}  # fmt: skip


def answer(cluster: Cluster, call: Call, fault: dict | None) -> Answer:
    return COMMANDS[call.command](cluster, call, fault)


def main(folder: str) -> None:
    with open(f"{folder}/settings", "rb") as file:
        settings = Settings(**marshal.loads(file.read()))
    listener = listen(f"{folder}/socket.new")
    cluster = Cluster(folder, settings, jobs.environment, jobs.log_path, jobs.says)
    server = Server(cluster, answer, jobs.exit_code)
    # From here on clients that see the socket are served.
    Path(f"{folder}/socket.new").rename(f"{folder}/socket")
    server.serve(listener, 0)
    if not Path(f"{folder}/stopping").exists():  # the process that started this one is dead
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1])
