"""The real schedulers that a machine may have, and how their users and tests reach them.

``REFLOW_LIVE=1``: every scheduler that is found is used. ``REFLOW_LIVE_PBS=1`` (and so on):
this one must be there, and its absence is a failure; ``=0``: it is left alone.
``REFLOW_LIVE_PBS_PATH``: folders that come first on PATH for it, as schedulers share the names
of their commands. As root, tests act as ``REFLOW_LIVE_USER`` (reflow), with the Python
``REFLOW_LIVE_PYTHON``, in which reflow is installed and which that user can run.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

PYTHON = os.environ.get("REFLOW_LIVE_PYTHON", sys.executable)
USER = os.environ.get("REFLOW_LIVE_USER", "reflow") if os.getuid() == 0 else ""
BASE = Path(os.environ.get("REFLOW_LIVE_BASE", "/var/tmp/reflow-live/tests"))


@dataclass(frozen=True, kw_only=True)
class Scheduler:
    """How a person uses a scheduler.

    `marker` is a command that no other scheduler has, `probe` one that succeeds where the
    scheduler answers. `listing` is shell code that prints ``id name`` for each job in the queue,
    `running` ids of those that run; `cancel` what ids are added to. `variables` lead its commands
    to it. `settings` go into the configuration. `limit` is a time limit in seconds that is
    kept, `overdue` in how many seconds who passes that has ended and is told of. `down` are the
    daemons, by the names that ``tools/clusters/<name>.sh`` knows, without which it answers nobody.
    `cancelled` is the cause that it tells of what was cancelled by hand while it ran. `executor`
    is the name of the backend, where that is another.
    """

    name: str
    marker: str
    probe: str
    listing: str
    running: str
    cancel: tuple[str, ...]
    variables: tuple[str, ...] = ()
    settings: Mapping[str, object] = field(default_factory=dict)
    limit: int = 60
    overdue: float = 200.0
    down: tuple[str, ...] = ()
    cancelled: str = "CANCELLED"
    executor: str = ""

    @property
    def backend(self) -> str:
        """The name of the executor for this scheduler."""
        return self.executor or self.name

    @property
    def path(self) -> str:
        """PATH with the folders of its commands first."""
        first = os.environ.get(f"{self.variable}_PATH", "")
        return os.pathsep.join(filter(None, [first, os.environ.get("PATH", os.defpath)]))

    @property
    def variable(self) -> str:
        """The variable that says whether this scheduler is to be used."""
        return f"REFLOW_LIVE_{self.name.upper()}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which its commands are called."""
        variables = {name: os.environ[name] for name in self.variables if name in os.environ}
        return {"PATH": self.path, "LANG": "C.UTF-8", **variables}

    def missing(self) -> str:
        """Return why this scheduler cannot be used here; "" if it can."""
        if shutil.which(self.marker, path=self.path) is None:
            return f"there is no command {self.marker!r} on PATH (see {self.variable}_PATH)"
        done = subprocess.run(
            as_user("sh", "-c", self.probe), env=self.environment, cwd="/", check=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        return "" if done.returncode == 0 else f"it does not answer: {done.stdout.strip()}"

    def need(self) -> None:
        """Skip the test if this scheduler is not to be used; fail it if it is missing."""
        setting = os.environ.get(self.variable, "")
        if setting == "0" or (setting != "1" and os.environ.get("REFLOW_LIVE") != "1"):
            pytest.skip(f"no live {self.name}: try make live, or {self.variable}=1")
        why = self.missing()
        if why and setting == "1":
            pytest.fail(f"{self.variable}=1, but {why}")
        if why:
            pytest.skip(f"no live {self.name}: {why}")


SCHEDULERS = {
    scheduler.name: scheduler
    for scheduler in (
        Scheduler(
            name="slurm",
            marker="sbatch",
            probe="squeue --noheader",
            listing="squeue --noheader --format='%i %j'",
            running="squeue --noheader --array --states=R --format=%i",
            cancel=("scancel",),
            variables=("SLURM_CONF",),
            down=("slurmctld",),
        ),
        Scheduler(
            name="sge",
            marker="qconf",
            probe="qstat",
            listing="qstat -u '*' -r | awk '/^ *[0-9]+ /{id=$1} /Full jobname:/{print id, $3}'",
            running="qstat -u '*' -s r | awk '/^ *[0-9]/{print $1}'",
            cancel=("qdel",),
            variables=("SGE_ROOT", "SGE_CELL", "SGE_CLUSTER_NAME"),
            cancelled="ERROR",  # as for any SIGKILL
            limit=20,
            down=("qmaster",),
        ),
        Scheduler(
            name="pbs",
            marker="pbs_rsub",
            probe="qstat -B",
            listing="qstat -f -w | awk '/^Job Id:/{id=$3} /^ *Job_Name = /{print id, $3}'",
            running="qselect -s R",
            cancel=("qdel",),
            variables=("PBS_CONF_FILE", "PBS_EXEC", "PBS_DEFAULT", "PBS_SERVER"),
            limit=20,
        ),
        Scheduler(
            name="torque",
            executor="pbs",
            marker="momctl",
            probe="qstat -B",
            listing="qstat -f | awk '/^Job Id:/{id=$3} /^ *Job_Name = /{name=$3} "
            "/^ *job_state = [^C]/{print id, name}'",
            running="qselect -s R",
            cancel=("qdel",),
            variables=("PBS_DEFAULT",),
            limit=20,
        ),
        Scheduler(
            name="lsf",
            marker="bsub",
            probe="bhosts",
            # The position in a name is no part of the tag.
            listing="bjobs -w -u all 2>/dev/null | awk 'NR > 1{print $1, $7}' | sed 's/[[].*//'",
            running="bjobs -w -r -u all 2>/dev/null | awk 'NR > 1{print $1}'",
            cancel=("bkill",),
            variables=("LSF_ENVDIR", "LSF_SERVERDIR", "LSF_BINDIR", "LSF_LIBDIR"),
        ),
        Scheduler(
            name="flux",
            marker="flux",
            probe="flux uptime",
            listing="flux jobs --no-header --count=0 --format='{id.f58plain} {name}' "
            "| sed 's/[[][0-9]*[]]$//'",
            running="flux jobs --no-header --filter=running --format='{id.f58plain}'",
            cancel=("flux", "cancel"),
            variables=("FLUX_URI", "FLUX_CONF_DIR"),
            limit=20,
        ),
    )
}


def as_user(*command: str) -> list[str]:
    """Return a command as the ordinary user runs it."""
    return ["runuser", "-u", USER, "--", *command] if USER else list(command)


def become_user() -> None:
    """Make this process run as the ordinary user from now on."""
    if USER:
        entry = pwd.getpwnam(USER)
        os.initgroups(USER, entry.pw_gid)
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
        os.environ.update(HOME=entry.pw_dir, USER=USER, LOGNAME=USER)
