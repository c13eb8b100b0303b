"""Fixtures for tests that need a scheduler: simulated ones, with commands to put on PATH."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .engine.model import Settings
from .engine.simulator import Simulator

FACES = {
    "lsf": ("bsub", "bjobs", "bkill", "bhist", "bparams"),
    "pbs": ("qsub", "qstat", "qdel", "qselect", "qalter", "qhold", "qrls"),
    "sge": ("qsub", "qstat", "qdel", "qacct", "qhold", "qrls", "qmod", "qconf"),
    "slurm": ("sbatch", "squeue", "sacct", "scancel", "scontrol"),
    "flux": ("flux",),
}
"""The commands of each scheduler that is simulated; its daemon is ``<name>/daemon.py``."""


SITES: dict[str, dict[str, Any]] = {
    # One node, and no queues: as an instance that a user starts.
    "flux": {"nodes": [("host", 8, 10**6)], "partitions": [("", ("host",), 10**9, 0, True)]},
}
"""Settings of each that are not the engine's own."""


def start(face: str, **settings: Any) -> Simulator:
    """Start a simulated scheduler; `settings` are fields of `Settings`."""
    daemon = Path(__file__).parent / face / "daemon.py"
    return Simulator(daemon, FACES[face], Settings(**{**SITES.get(face, {}), **settings}))


@pytest.fixture
def simulators() -> Iterator[Callable[..., Simulator]]:
    """Return a function that starts a simulated scheduler, by its name and with settings."""
    started: list[Simulator] = []

    def begin(face: str, **settings: Any) -> Simulator:
        started.append(start(face, **settings))
        return started[-1]

    yield begin
    complaints = [simulator.stop() for simulator in started]
    assert complaints == [""] * len(started)


@pytest.fixture
def slurm_simulators(simulators: Callable[..., Simulator]) -> Callable[..., Simulator]:
    """Return a function that starts a simulated Slurm with settings of its own."""
    return lambda **settings: simulators("slurm", **settings)


@pytest.fixture
def slurm_simulator(slurm_simulators: Callable[..., Simulator]) -> Simulator:
    """Return a simulated Slurm; see `Simulator` for its path, faults and queries."""
    return slurm_simulators()


@pytest.fixture
def pbs_simulator(simulators: Callable[..., Simulator]) -> Simulator:
    """Return a simulated PBS."""
    return simulators("pbs")


@pytest.fixture
def lsf_simulator(simulators: Callable[..., Simulator]) -> Simulator:
    """Return a simulated LSF (OpenLava)."""
    return simulators("lsf")
