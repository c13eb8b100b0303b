"""Fixtures for tests that need a scheduler: simulated ones, with commands to put on PATH."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .engine.model import Settings
from .engine.simulator import Simulator

_SLURM = Path(__file__).parent / "slurm" / "daemon.py"
_SLURM_COMMANDS = ("sbatch", "squeue", "sacct", "scancel", "scontrol")


def start_slurm(**settings: Any) -> Simulator:
    """Start a simulated Slurm; `settings` are fields of `Settings`."""
    return Simulator(_SLURM, _SLURM_COMMANDS, Settings(**settings))


@pytest.fixture
def slurm_simulators() -> Iterator[Callable[..., Simulator]]:
    """Return a function that starts a simulated Slurm with settings of its own."""
    started: list[Simulator] = []

    def start(**settings: Any) -> Simulator:
        started.append(start_slurm(**settings))
        return started[-1]

    yield start
    complaints = [one.stop() for one in started]
    assert complaints == [""] * len(started)


@pytest.fixture
def slurm_simulator(slurm_simulators: Callable[..., Simulator]) -> Simulator:
    """Return a simulated Slurm: see `Simulator` for its path, faults and questions."""
    return slurm_simulators()
