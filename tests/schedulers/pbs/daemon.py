"""The daemon of a simulated PBS; a program: ``daemon.py FOLDER``, without site packages."""

import marshal
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from schedulers.engine.cluster import Cluster
from schedulers.engine.model import Settings
from schedulers.engine.server import Answer, Call, Server, listen
from schedulers.pbs import jobs
from schedulers.pbs.control import qalter, qdel, qhold, qrls
from schedulers.pbs.qselect import qselect
from schedulers.pbs.qstat import qstat
from schedulers.pbs.qsub import qsub

COMMANDS = {
    "qsub": qsub, "qstat": qstat, "qdel": qdel, "qselect": qselect, "qalter": qalter,
    "qhold": qhold, "qrls": qrls,
}  # fmt: skip
# The defaults of a PBS server, except for the history of jobs.
OWN = {
    "position_numbers": False, "strict_dependencies": True, "max_array_size": 10000,
    "default_memory": 0, "nodes": [("pbshost", 8, 24000)],
    "partitions": [
        ("workq", ("pbshost",), 10**9, 0, True), ("second", ("pbshost",), 10**9, 0, True)
    ],
}  # fmt: skip


def answer(cluster: Cluster, call: Call, fault: dict | None) -> Answer:
    return COMMANDS[call.command](cluster, call, fault)


def main(folder: str) -> None:
    with open(f"{folder}/settings", "rb") as file:
        inherited = marshal.loads(file.read())
    plain = vars_of(Settings())
    # A test's settings win; all others are PBS's defaults, not the engine's.
    inherited.update({name: value for name, value in OWN.items() if inherited[name] == plain[name]})
    listener = listen(f"{folder}/socket.new")
    Path(f"{folder}/spool").mkdir(mode=0o777)
    cluster = Cluster(folder, Settings(**inherited), jobs.environment, jobs.log_path, jobs.says)
    cluster.on_end.append(jobs.deliver)
    server = Server(cluster, answer, jobs.exit_status)
    # From here on clients that see the socket are served.
    Path(f"{folder}/socket.new").rename(f"{folder}/socket")
    server.serve(listener, 0)
    if not Path(f"{folder}/stopping").exists():  # the process that started this one is dead
        shutil.rmtree(folder, ignore_errors=True)


def vars_of(inherited: Settings) -> dict:
    """Return settings as they come out of a marshalled file: lists, not tuples."""
    plain = {name: getattr(inherited, name) for name in Settings.__dataclass_fields__}
    return marshal.loads(marshal.dumps(_listed(plain)))


def _listed(value: object) -> object:
    if isinstance(value, dict):
        return {key: _listed(entry) for key, entry in value.items()}
    return [_listed(entry) for entry in value] if isinstance(value, (list, tuple)) else value


if __name__ == "__main__":
    main(sys.argv[1])
